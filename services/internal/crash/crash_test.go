package crash

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestArm(t *testing.T) {
	dir := t.TempDir()
	if err := Arm(dir, "order-0", "after-commit", 1); !errors.Is(err, ErrNotArmable) {
		t.Errorf("arm a process that does not look: got %v, want %v", err, ErrNotArmable)
	}
	if err := os.WriteFile(filepath.Join(dir, "order-0.ready"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Arm(dir, "order-0", "after-commit", 0); err == nil {
		t.Error("arm for the pass 0: got no error")
	}
	if err := Arm(dir, "order-0", "after-commit", 3); err != nil {
		t.Fatal(err)
	}
	if armed, err := Armed(dir, "order-0"); !armed || err != nil {
		t.Errorf("armed: got %t, %v", armed, err)
	}
	for range 2 { // the second finds nothing
		if err := Disarm(dir, "order-0"); err != nil {
			t.Fatal(err)
		}
	}
	if armed, err := Armed(dir, "order-0"); armed || err != nil {
		t.Errorf("disarmed: got %t, %v", armed, err)
	}
}

func TestParse(t *testing.T) {
	for in, want := range map[string]struct {
		point string
		n     int
	}{
		"after-commit:3\n": {"after-commit", 3},
		"after-commit":     {}, "after-commit:0": {}, ":1": {}, "after-commit:x": {}, "": {},
	} {
		point, n, err := parse(in)
		if point != want.point || n != want.n || (err == nil) != (want.n > 0) {
			t.Errorf("%q: got %q, %d, %v", in, point, n, err)
		}
	}
}
