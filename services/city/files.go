package city

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Files are the names of all files of the city.
func Files() []string { return []string{BookFile, MailFile, SMSFile, PushFile} }

// WriteFiles writes the files of the city in dir as a tar archive, each as long as it is at that moment: they only grow.
// One that is not there yet is left out.
func WriteFiles(w io.Writer, dir string) error {
	archive := tar.NewWriter(w)
	for _, name := range Files() {
		if err := writeFile(archive, dir, name); err != nil {
			return fmt.Errorf("city: %s: %w", name, err)
		}
	}
	return archive.Close()
}

func writeFile(archive *tar.Writer, dir, name string) error {
	f, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: info.Size(), ModTime: info.ModTime()}); err != nil {
		return err
	}
	_, err = io.CopyN(archive, f, info.Size())
	return err
}
