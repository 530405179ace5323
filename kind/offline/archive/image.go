package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// image is what one archive holds.
type image struct {
	ref    string
	config config
	layers []layer
}

// config is the part of the image configuration that tells an engine how to run it
// (https://github.com/opencontainers/image-spec/blob/main/config.md).
type config struct {
	User       string            `json:"User,omitempty"`
	Env        []string          `json:"Env,omitempty"`
	Entrypoint []string          `json:"Entrypoint,omitempty"`
	Cmd        []string          `json:"Cmd,omitempty"`
	WorkingDir string            `json:"WorkingDir,omitempty"`
	StopSignal string            `json:"StopSignal,omitempty"`
	Labels     map[string]string `json:"Labels,omitempty"`
}

type imageConfig struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Config       config `json:"config"`
	RootFS       rootFS `json:"rootfs"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

// manifest is the entry of one image in the archive's manifest.json, as `docker save` writes it.
type manifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// write makes the archive beside out and renames it, so that a file of that name is always whole.
func (img image) write(out string) (err error) {
	scratch, err := os.MkdirTemp(filepath.Dir(out), ".archive-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)

	m := manifest{RepoTags: []string{img.ref}}
	conf := imageConfig{Architecture: runtime.GOARCH, OS: "linux", Config: img.config, RootFS: rootFS{Type: "layers"}}
	var files []string
	for i, l := range img.layers {
		file := filepath.Join(scratch, fmt.Sprintf("%d.tar", i))
		sum, err := writeLayer(file, l)
		if err != nil {
			return fmt.Errorf("layer %s: %w", l.folder, err)
		}
		files = append(files, file)
		conf.RootFS.DiffIDs = append(conf.RootFS.DiffIDs, "sha256:"+sum)
		m.Layers = append(m.Layers, sum+".tar")
	}
	confJSON, err := json.Marshal(conf)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(confJSON)
	m.Config = hex.EncodeToString(sum[:]) + ".json"
	manifestJSON, err := json.Marshal([]manifest{m})
	if err != nil {
		return err
	}

	whole := filepath.Join(scratch, "image.tar")
	f, err := os.Create(whole)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	if err := addBytes(w, "manifest.json", manifestJSON); err != nil {
		return err
	}
	if err := addBytes(w, m.Config, confJSON); err != nil {
		return err
	}
	written := map[string]bool{}
	for i, file := range files {
		if written[m.Layers[i]] {
			continue
		}
		written[m.Layers[i]] = true
		if err := addFile(w, m.Layers[i], file); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(whole, out)
}

func addBytes(w *tar.Writer, name string, b []byte) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(b))}); err != nil {
		return err
	}
	_, err := io.Copy(w, bytes.NewReader(b))
	return err
}

func addFile(w *tar.Writer, name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}
