// Package crash lets a test end a real process at a named point of its work, by SIGKILL and thus without any clean-up.
// Only programs that are built with the tag faults can do it; in all others the points cost nothing.
//
// A point is armed by a file: <folder>/<instance>, which holds "<point>:<n>" and is read at every point that the process
// passes. At the n-th pass after it was armed the process removes the file and kills itself. The file is gone before the
// process is, so that the process which the supervisor starts next runs on.
package crash

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// FolderVariable is the environment variable that names the folder of the armed points. Programs built with the tag
// faults make the folder when they start, so that who arms them can see that they are.
const FolderVariable = "CRASH_POINTS"

// ErrNotArmable says that the process does not look for armed points.
var ErrNotArmable = errors.New("its program is not built with the tag faults, or was started without " + FolderVariable)

// Arm has the process of an instance end at its n-th pass of a point, counted from now.
func Arm(folder, instance, point string, n int) error {
	if n < 1 {
		return fmt.Errorf("arm %s at %s: the pass must be at least 1, not %d", instance, point, n)
	}
	if _, err := os.Stat(readyFile(folder, instance)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("arm %s: %w", instance, ErrNotArmable)
	}
	tmp := filepath.Join(folder, "."+instance) // so that it is never read half written
	if err := os.WriteFile(tmp, []byte(point+":"+strconv.Itoa(n)), 0o600); err != nil {
		return fmt.Errorf("arm %s: %w", instance, err)
	}
	return os.Rename(tmp, filepath.Join(folder, instance))
}

// Armed reports whether an instance has a point before it still.
func Armed(folder, instance string) (bool, error) {
	_, err := os.Stat(filepath.Join(folder, instance))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Disarm takes back what Arm did, if the process has not come to it.
func Disarm(folder, instance string) error {
	err := os.Remove(filepath.Join(folder, instance))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func readyFile(folder, instance string) string { return filepath.Join(folder, instance+".ready") }

// parse takes "<point>:<n>" apart.
func parse(armed string) (point string, n int, err error) {
	point, digits, ok := strings.Cut(strings.TrimSpace(armed), ":")
	if ok {
		n, err = strconv.Atoi(digits)
	}
	if !ok || err != nil || n < 1 || point == "" {
		return "", 0, fmt.Errorf("%q is not of the form point:n", armed)
	}
	return point, n, nil
}
