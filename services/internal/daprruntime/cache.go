package daprruntime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// DefaultCacheDir is where built sets live: $XDG_CACHE_HOME/dishmesh/runtime, or the platform's cache folder.
func DefaultCacheDir() (string, error) {
	if dir := os.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "dishmesh", "runtime"), nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache folder: set XDG_CACHE_HOME to a writable folder: %w", err)
	}
	return filepath.Join(dir, "dishmesh", "runtime"), nil
}

// cacheFolder names the folder of the set that the pinned module and this machine ask for.
func cacheFolder(ctx context.Context, opts Options) (string, error) {
	root := opts.CacheDir
	if root == "" {
		var err error
		if root, err = DefaultCacheDir(); err != nil {
			return "", err
		}
	}
	goVersion, err := GoVersion(ctx, opts.ModuleDir)
	if err != nil {
		return "", err
	}
	key, err := cacheKey(opts.ModuleDir, goVersion)
	if err != nil {
		return "", err
	}
	return filepath.Join(root, key), nil
}

// cacheKey changes whenever a build would give other programs.
func cacheKey(moduleDir, goVersion string) (string, error) {
	h := sha256.New()
	var files []string
	err := filepath.WalkDir(filepath.Join(moduleDir, Daprd), func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if filepath.Ext(path) == ".go" && !strings.HasSuffix(path, "_test.go") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("the pinned runtime module is not complete: %w", err)
	}
	for _, file := range append(files, filepath.Join(moduleDir, "go.mod"), filepath.Join(moduleDir, "go.sum")) {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("the pinned runtime module is not complete: %w", err)
		}
		fmt.Fprintf(h, "%s %d\n%s", filepath.Base(file), len(b), b)
	}
	fmt.Fprintf(h, "%s %s/%s %s", Version, runtime.GOOS, runtime.GOARCH, goVersion)
	return fmt.Sprintf("%s-%s", Version, hex.EncodeToString(h.Sum(nil))[:16]), nil
}

// manifestName is written last, so that a folder without it, or one that differs from it, is a half-written build.
const manifestName = "manifest.json"

type manifest struct {
	Version  string                 `json:"version"`
	Built    time.Time              `json:"built"`
	Programs map[string]programFile `json:"programs"`
}

type programFile struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

func writeManifest(dir string) error {
	m := manifest{Version: Version, Built: time.Now().UTC().Truncate(time.Second), Programs: map[string]programFile{}}
	for _, p := range Programs() {
		size, sum, err := hashFile(filepath.Join(dir, p))
		if err != nil {
			return err
		}
		m.Programs[p] = programFile{Size: size, SHA256: sum}
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, manifestName), append(b, '\n'), 0o644)
}

// checkManifest tells whether the folder holds a whole set. Sizes are compared on every start; the digests, which
// take a second to compute, were compared when the set was written.
func checkManifest(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return err
	}
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return fmt.Errorf("%s: %w", manifestName, err)
	}
	if m.Version != Version {
		return fmt.Errorf("version %s, want %s", m.Version, Version)
	}
	for _, p := range Programs() {
		info, err := os.Stat(filepath.Join(dir, p))
		if err != nil {
			return err
		}
		if want := m.Programs[p].Size; info.Size() != want || want == 0 {
			return fmt.Errorf("%s has %d bytes, want %d", p, info.Size(), want)
		}
		if info.Mode()&0o111 == 0 {
			return fmt.Errorf("%s is not executable", p)
		}
	}
	return nil
}

func hashFile(path string) (int64, string, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return 0, "", err
	}
	return n, hex.EncodeToString(h.Sum(nil)), nil
}
