package daprruntime

import (
	"context"
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// findInstalled looks for a set of the right version on PATH and in the folder of the Dapr command line.
func findInstalled(ctx context.Context) (Runtime, bool) {
	var dirs []string
	if path, err := exec.LookPath(Daprd); err == nil {
		if abs, err := filepath.Abs(path); err == nil {
			dirs = append(dirs, filepath.Dir(abs))
		}
	}
	if home, err := os.UserHomeDir(); err == nil {
		dirs = append(dirs, filepath.Join(home, ".dapr", "bin"))
	}
	for _, dir := range dirs {
		if usable(ctx, dir) {
			return Runtime{Dir: dir, Source: dir}, true
		}
	}
	return Runtime{}, false
}

// usable tells whether the folder holds all programs, with a daprd of exactly Version that has every component: the
// SQLite name resolver, which the laptop profile needs, is not in the smaller set of Dapr's two.
func usable(ctx context.Context, dir string) bool {
	for _, p := range Programs() {
		info, err := os.Stat(filepath.Join(dir, p))
		if err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			return false
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(dir, Daprd), "--version").Output()
	if err != nil || strings.TrimSpace(string(out)) != Version {
		return false
	}
	info, err := buildinfo.ReadFile(filepath.Join(dir, Daprd))
	if err != nil {
		return false
	}
	for _, s := range info.Settings {
		if s.Key == "-tags" {
			return strings.Contains(s.Value, "allcomponents")
		}
	}
	return false
}
