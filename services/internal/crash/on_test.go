//go:build faults

package crash

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// The process kills itself at the pass that was armed, once; its successor runs on.
func TestPoints(t *testing.T) {
	if os.Getenv("PASS") != "" {
		pass := Points("order-0")
		for range 3 {
			pass("before-commit")
			pass("after-commit")
		}
		return
	}
	dir := filepath.Join(t.TempDir(), "points")
	process := func() error {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestPoints$")
		cmd.Env = append(os.Environ(), "PASS=1", FolderVariable+"="+dir)
		return cmd.Run()
	}
	if err := process(); err != nil {
		t.Fatalf("nothing armed: %v", err)
	}
	if err := Arm(dir, "order-0", "after-commit", 4); err != nil {
		t.Fatal(err)
	}
	if err := process(); err != nil {
		t.Fatalf("armed for a pass that does not come: %v", err)
	}
	if err := Arm(dir, "order-0", "after-commit", 3); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := process(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("got %v, want the process killed", err)
	}
	if armed, err := Armed(dir, "order-0"); armed || err != nil {
		t.Errorf("after the kill: got armed %t, %v", armed, err)
	}
	if err := process(); err != nil {
		t.Errorf("the next process: %v", err)
	}
}
