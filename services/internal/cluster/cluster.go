// Package cluster makes the kind cluster that runs the whole platform, and takes it away again. What is done, in which
// order, is the table in steps.go; kind/README.md is the design.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dishmesh/dishmesh/services/internal/cluster/tool"
)

// Name of the cluster; its context is "kind-dishmesh".
const Name = "dishmesh"

// Namespaces of the cluster that the tool itself speaks of.
const (
	NamespaceServices = "dishmesh"
	NamespaceData     = "dishmesh-data"
	NamespaceCity     = "dishmesh-city"
	NamespaceIngress  = "dishmesh-ingress"
	namespaceDapr     = "dapr-system"
	namespaceIstio    = "istio-system"
)

// Default ports of the ingress on the loopback interface.
const (
	DefaultHTTPSPort = 8443
	DefaultHTTPPort  = 8080
)

// Source says where images come from.
type Source string

const (
	// SourceAuto looks: a registry where one answers, else offline.
	SourceAuto Source = "auto"
	// SourceRegistry has the node pull upstream's images.
	SourceRegistry Source = "registry"
	// SourceOffline builds images of the same names from Go modules, Debian and Maven.
	SourceOffline Source = "offline"
)

// ParseSource reads the value of --images.
func ParseSource(s string) (Source, error) {
	switch src := Source(s); src {
	case SourceAuto, SourceRegistry, SourceOffline:
		return src, nil
	}
	return "", fmt.Errorf("--images %q is none of auto, registry, offline", s)
}

// Config is what a cluster is made from.
type Config struct {
	// Home is the checkout.
	Home string
	// Data is the data folder; everything of the cluster lies in its folder "cluster".
	Data string
	// Cache holds what is built once and used by every cluster; empty is the user's cache folder.
	Cache string
	// Images is the source of images; empty is SourceAuto.
	Images Source
	// HTTPSPort and HTTPPort are the ingress's ports on 127.0.0.1; zero is the default.
	HTTPSPort, HTTPPort int
	// Version is written into the labels of our images.
	Version string
}

// Reporter is told what happens. Calls come from one goroutine at a time.
type Reporter interface {
	// Begin starts a step.
	Begin(name, title string)
	// Progress is one line about the step under way; each replaces the one before.
	Progress(text string)
	// End ends the step; did is empty where nothing had to be done.
	End(name, did string, took time.Duration)
	// Note is worth knowing and changes nothing.
	Note(text string)
}

// Layout names the files of a cluster below the data folder.
type Layout struct{ Dir string }

// NewLayout is the layout of a data folder.
func NewLayout(data string) Layout { return Layout{Dir: filepath.Join(data, "cluster")} }

// Kubeconfig is the only place where access to the cluster is kept; the user's own file is left alone.
func (l Layout) Kubeconfig() string { return filepath.Join(l.Dir, "kubeconfig") }

// CA is the certificate of the local authority that signed the ingress's.
func (l Layout) CA() string { return filepath.Join(l.Dir, "ca.pem") }

// Log has every program that was run, with its output.
func (l Layout) Log() string { return filepath.Join(l.Dir, "log") }

// Docker holds everything of the private docker daemon.
func (l Layout) Docker() string { return filepath.Join(l.Dir, "docker") }

func (l Layout) caKey() string       { return filepath.Join(l.Dir, "ca-key.pem") }
func (l Layout) ingressCert() string { return filepath.Join(l.Dir, "ingress.pem") }
func (l Layout) ingressKey() string  { return filepath.Join(l.Dir, "ingress-key.pem") }
func (l Layout) state() string       { return filepath.Join(l.Dir, "state.json") }
func (l Layout) lock() string        { return filepath.Join(l.Dir, "lock") }
func (l Layout) images() string      { return filepath.Join(l.Dir, "images") }

// state is what one run leaves for the next.
type state struct {
	// Images is the source that the cluster was made with: a second run keeps to it.
	Images Source `json:"images,omitempty"`
	// DockerHost is the daemon that the cluster runs in.
	DockerHost string `json:"docker_host,omitempty"`
	HTTPSPort  int    `json:"https_port,omitempty"`
	HTTPPort   int    `json:"http_port,omitempty"`
	// Created is set once the node is there; Complete once everything was ready for the first time.
	Created  time.Time `json:"created,omitzero"`
	Complete time.Time `json:"complete,omitzero"`
}

// Cluster is one cluster under work.
type Cluster struct {
	cfg    Config
	files  Layout
	run    tool.Runner
	box    *tool.Box
	report Reporter
	state  state
	lock   *os.File

	// machine answers what the needs ask about this machine.
	machine machine
	// startedDocker and startedNode say what this run made, so that a failed start can take it back.
	startedDocker, startedNode bool
	source                     Source
	// overlays are what kustomize made of the manifests, by folder.
	overlays map[string][]byte
	// content names what our own images are made from, by reference.
	content map[string]string
	// set is the folder of the offline set, once it is known.
	set string
}

// BusyError says that another `dishmesh cluster` works on the same data folder.
type BusyError struct{ PID int }

// Error implements error.
func (e *BusyError) Error() string {
	return fmt.Sprintf("process %d is at work on this cluster: wait for it, or stop it with Ctrl-C", e.PID)
}

// Open takes the cluster of a data folder for this process. Close lets it go.
func Open(cfg Config, report Reporter) (*Cluster, error) {
	c, err := look(cfg, report)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.files.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot write the data folder: %w; choose another with --data", err)
	}
	if err := c.take(); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(c.files.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("open the log: %w", err)
	}
	c.box.Log = log
	return c, nil
}

// look is a cluster that is only looked at: nothing is locked or written.
func look(cfg Config, report Reporter) (*Cluster, error) {
	if cfg.Images == "" {
		cfg.Images = SourceAuto
	}
	if cfg.Cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("no cache folder: set XDG_CACHE_HOME to a writable folder: %w", err)
		}
		cfg.Cache = filepath.Join(dir, "dishmesh", "cluster")
	}
	files := NewLayout(cfg.Data)
	box := &tool.Box{}
	c := &Cluster{cfg: cfg, files: files, run: box, box: box, report: report, machine: thisMachine{}}
	b, err := os.ReadFile(files.state())
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("read the cluster's state: %w", err)
	default:
		if err := json.Unmarshal(b, &c.state); err != nil {
			return nil, fmt.Errorf("%s is broken: run `dishmesh cluster down`, or remove it: %w", files.state(), err)
		}
	}
	if c.cfg.HTTPSPort == 0 {
		c.cfg.HTTPSPort = DefaultHTTPSPort
		if c.state.HTTPSPort != 0 {
			c.cfg.HTTPSPort = c.state.HTTPSPort
		}
	}
	if c.cfg.HTTPPort == 0 {
		c.cfg.HTTPPort = DefaultHTTPPort
		if c.state.HTTPPort != 0 {
			c.cfg.HTTPPort = c.state.HTTPPort
		}
	}
	box.Setenv("KUBECONFIG", files.Kubeconfig())
	if c.state.DockerHost != "" {
		box.Setenv("DOCKER_HOST", c.state.DockerHost)
	}
	return c, nil
}

// take locks the cluster. The kernel lets the lock go when the process ends, however it ends.
func (c *Cluster) take() error {
	f, err := os.OpenFile(c.files.lock(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write the data folder: %w; choose another with --data", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("lock the cluster: %w", err)
		}
		buf := make([]byte, 32)
		n, _ := f.ReadAt(buf, 0)
		pid, _ := strconv.Atoi(strings.TrimSpace(string(buf[:n]))) // 0 where the other is just writing it
		return &BusyError{PID: pid}
	}
	c.lock = f
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// Close lets the cluster go.
func (c *Cluster) Close() {
	if c.lock != nil {
		c.lock.Close()
	}
	if f, ok := c.box.Log.(*os.File); ok {
		f.Close()
	}
}

// save writes the state for the next run.
func (c *Cluster) save() error {
	b, err := json.MarshalIndent(c.state, "", "  ")
	if err != nil {
		return err
	}
	tmp := c.files.state() + ".new"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the cluster's state: %w", err)
	}
	return os.Rename(tmp, c.files.state())
}

// URL is the address of the platform from this machine.
func (c *Cluster) URL() string { return fmt.Sprintf("https://dishmesh.localhost:%d", c.cfg.HTTPSPort) }

// kubectl runs kubectl on the cluster.
func (c *Cluster) kubectl(ctx context.Context, args ...string) ([]byte, error) {
	return c.run.Run(ctx, tool.Command{Name: "kubectl", Args: args})
}

// docker runs the docker client.
func (c *Cluster) docker(ctx context.Context, args ...string) ([]byte, error) {
	return c.run.Run(ctx, tool.Command{Name: "docker", Args: args})
}
