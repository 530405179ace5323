package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// layer is a folder whose content becomes one layer; with a base, only what differs from it.
type layer struct {
	folder, base string
	// debian leaves out what is skipped of a Debian root.
	debian bool
}

// skipped are folders of a Debian root of which an image keeps the folder alone: what the kernel fills when a container
// runs, and what only an installation of packages reads. The rest of dpkg's state stays: the alternatives are switched by
// a node when it starts, and the list of packages is what scanners of images read.
var skipped = map[string]bool{
	"dev": true, "proc": true, "sys": true, "run": true, "tmp": true,
	"var/cache/apt": true, "var/lib/apt": true, "var/lib/dpkg/info": true, "var/log": true, "var/cache/debconf": true,
	"usr/share/doc": true, "usr/share/man": true, "usr/share/locale": true, "usr/share/info": true, "usr/share/lintian": true,
}

// writeLayer writes l as a tar file and returns its SHA-256, which names the layer.
func writeLayer(file string, l layer) (string, error) {
	f, err := os.Create(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	buf := bufio.NewWriterSize(io.MultiWriter(f, h), 1<<20)
	w := tar.NewWriter(buf)
	if err := l.walk(w); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	if err := buf.Flush(); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), f.Close()
}

func (l layer) walk(w *tar.Writer) error {
	// The first path of a file with several names; the others become hard links to it.
	names := map[uint64]string{}
	return filepath.WalkDir(l.folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(l.folder, path)
		if err != nil || rel == "." {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.Mode()&(fs.ModeDevice|fs.ModeSocket|fs.ModeNamedPipe) != 0 {
			return nil
		}
		same, err := l.inBase(rel, path, info)
		if err != nil {
			return err
		}
		if !same {
			if err := add(w, rel, path, info, names); err != nil {
				return fmt.Errorf("%s: %w", rel, err)
			}
		}
		if l.debian && entry.IsDir() && skipped[rel] {
			return fs.SkipDir
		}
		return nil
	})
}

// inBase tells whether the base holds the very same entry.
func (l layer) inBase(rel, path string, info fs.FileInfo) (bool, error) {
	if l.base == "" {
		return false, nil
	}
	twin := filepath.Join(l.base, rel)
	other, err := os.Lstat(twin)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	a, b := info.Sys().(*syscall.Stat_t), other.Sys().(*syscall.Stat_t)
	if info.Mode() != other.Mode() || a.Uid != b.Uid || a.Gid != b.Gid {
		return false, nil
	}
	switch {
	case info.IsDir():
		return true, nil
	case info.Mode()&fs.ModeSymlink != 0:
		x, err := os.Readlink(path)
		if err != nil {
			return false, err
		}
		y, err := os.Readlink(twin)
		return x == y, err
	case info.Size() != other.Size():
		return false, nil
	}
	return sameBytes(path, twin)
}

func sameBytes(a, b string) (bool, error) {
	x, err := os.ReadFile(a)
	if err != nil {
		return false, err
	}
	y, err := os.ReadFile(b)
	return bytes.Equal(x, y), err
}

// add writes one entry without its times, owner names and other traces of the machine that built it.
func add(w *tar.Writer, rel, path string, info fs.FileInfo, names map[uint64]string) error {
	stat := info.Sys().(*syscall.Stat_t)
	h := &tar.Header{Name: rel, Uid: int(stat.Uid), Gid: int(stat.Gid), Mode: int64(stat.Mode & 0o7777), Format: tar.FormatPAX}
	switch {
	case info.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, strings.TrimSuffix(rel, "/")+"/"
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
	default:
		if stat.Nlink > 1 {
			if first, ok := names[stat.Ino]; ok {
				h.Typeflag, h.Linkname = tar.TypeLink, first
				return w.WriteHeader(h)
			}
			names[stat.Ino] = rel
		}
		h.Typeflag, h.Size = tar.TypeReg, info.Size()
	}
	if err := w.WriteHeader(h); err != nil || h.Typeflag != tar.TypeReg {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}
