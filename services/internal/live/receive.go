package live

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// unpack is how Tilt calls tar in a container.
var unpack = []string{"-C", "/", "-x", "-f", "-"}

// Receive does what Tilt calls tar for: it unpacks an archive whose names are relative to root. Files may go to dir
// only, because nothing else of the container can be written to. Each is there as a whole or not at all.
func Receive(archive io.Reader, args []string, root, dir string) error {
	if !slices.Equal(args, unpack) {
		return fmt.Errorf("tar %s: only `tar %s` is understood", strings.Join(args, " "), strings.Join(unpack, " "))
	}
	for files := tar.NewReader(archive); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("tar: %w", err)
		}
		name, err := below(dir, filepath.Join(root, header.Name))
		if err != nil {
			return fmt.Errorf("tar: %w", err)
		}
		switch header.Typeflag {
		case tar.TypeDir:
			continue // files lie in dir itself
		case tar.TypeReg:
			err = replace(name, files, header.FileInfo().Mode().Perm())
		default:
			err = fmt.Errorf("%s is no regular file", name)
		}
		if err != nil {
			return fmt.Errorf("tar: %w", err)
		}
	}
}

// Remove does what Tilt calls rm for: it deletes files that are gone at the developer's. The next start of the service
// is then the image's own program again.
func Remove(args []string, dir string) error {
	if len(args) == 0 || args[0] != "-rf" {
		return fmt.Errorf("rm %s: only `rm -rf FILE...` is understood", strings.Join(args, " "))
	}
	for _, arg := range args[1:] {
		name, err := below(dir, arg)
		if err == nil {
			err = os.RemoveAll(name)
		}
		if err != nil {
			return fmt.Errorf("rm: %w", err)
		}
	}
	return nil
}

// below refuses a name that does not lie in dir itself.
func below(dir, name string) (string, error) {
	name = filepath.Clean(name)
	if name != dir && filepath.Dir(name) != dir {
		return "", fmt.Errorf("%s does not lie in %s", name, dir)
	}
	return name, nil
}
