// Package live replaces the program of a running container while everything beside it goes on: the pod, its address,
// its sidecars. Images are built from scratch and their root is read-only, so there is no tar, no shell and no place to
// write; a folder of the pod (an emptyDir) brings all three, and Supervisor runs the service as its child.
//
// It serves people who change the code under Tilt. No image of a service contains it.
package live

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// The files of the folder that pod and developer share.
const (
	// Program is the program that was sent last. It runs in place of the image's own.
	Program = "program"
	// Tool is this program. Tilt calls it by the names in Aliases too.
	Tool = "live"

	socket   = "control.sock"
	rejected = "rejected" // a program that ended before it listened, kept to be looked at
)

// Aliases are the names under which Tilt looks for programs in a container: with tar it copies files, with rm it
// deletes them (https://docs.tilt.dev/live_update_reference.html).
var Aliases = []string{"tar", "rm"}

// Install puts the tool into dir. An init container does it, whose image holds the tool only.
func Install(dir, executable string) error {
	if err := copyFile(filepath.Join(dir, Tool), executable); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	for _, alias := range Aliases {
		name := filepath.Join(dir, alias)
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("install: %w", err)
		}
		if err := os.Symlink(Tool, name); err != nil {
			return fmt.Errorf("install: %w", err)
		}
	}
	return nil
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return replace(to, in, 0o755)
}

// replace writes a file under another name first. A program that runs can be replaced, but not written to.
func replace(name string, content io.Reader, mode os.FileMode) error {
	next := name + ".next"
	out, err := os.OpenFile(next, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, content)
	if err = errors.Join(err, out.Chmod(mode), out.Close()); err != nil {
		return errors.Join(err, os.Remove(next))
	}
	return os.Rename(next, name)
}
