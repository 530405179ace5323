package platform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ensureServices returns the folder with the programs of the services: the one beside this program if they are all
// there, otherwise bin/ of the checkout, where they are built.
func ensureServices(ctx context.Context, cfg Config, step func(string)) (string, error) {
	if cfg.BinDir != "" {
		if missing := missingPrograms(cfg.BinDir, cfg.Apps); len(missing) > 0 {
			return "", fmt.Errorf("%s lacks %s: build them with `make build`", cfg.BinDir, strings.Join(missing, ", "))
		}
		return cfg.BinDir, nil
	}
	if dir := filepath.Dir(cfg.Self); len(missingPrograms(dir, cfg.Apps)) == 0 {
		return dir, nil
	}
	step("building the services")
	dir := filepath.Join(cfg.Home.Dir, "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	for _, app := range cfg.Apps {
		args = append(args, "./services/cmd/"+app)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = cfg.Home.Dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return "", errors.New("no Go found to build the services: install Go 1.26 or later from https://go.dev/dl")
		}
		if ctx.Err() != nil {
			return "", errors.New("interrupted while the services were built")
		}
		first, _, _ := strings.Cut(strings.TrimSpace(out.String()), "\n")
		return "", fmt.Errorf("the services do not build: %s (run `make build` to see all)", first)
	}
	return dir, nil
}

func missingPrograms(dir string, names []string) []string {
	var missing []string
	for _, name := range names {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			missing = append(missing, name)
		}
	}
	return missing
}
