package platform

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Layout names what lies where in a data folder. Children run with the data folder as their working folder, so the
// Dapr resources can use relative paths.
type Layout struct{ Data string }

// DefaultData is the data folder's name below the checkout.
const DefaultData = ".dishmesh"

func (l Layout) path(elem ...string) string {
	return filepath.Join(append([]string{l.Data}, elem...)...)
}

// State holds the state stores, one SQLite file for each.
func (l Layout) State() string { return l.path("state") }

// Broker holds the events.
func (l Layout) Broker() string { return l.path("broker") }

// Scheduler holds the jobs and reminders.
func (l Layout) Scheduler() string { return l.path("scheduler") }

// Certs holds the certificate authority of the sidecars.
func (l Layout) Certs() string { return l.path("certs") }

// City holds what the outside world keeps: the acquirer's book, mails, messages.
func (l Layout) City() string { return l.path("city") }

// Logs holds one file per process.
func (l Layout) Logs() string { return l.path("logs") }

// Log is the log file of a process.
func (l Layout) Log(name string) string { return l.path("logs", name+".log") }

// Run holds what belongs to the running platform.
func (l Layout) Run() string { return l.path("run") }

// RunInfo is the file that describes the running platform.
func (l Layout) RunInfo() string { return l.path("run", "run.json") }

// Tokens is the file with the API tokens of this run, readable by the owner only.
func (l Layout) Tokens() string { return l.path("run", "tokens.json") }

// Accounts is the file with the accounts that every fresh platform starts with.
func (l Layout) Accounts() string { return l.path("accounts.json") }

// Secrets is the file with what the platform shares with the outside world.
func (l Layout) Secrets() string { return l.path("secrets.json") }

// ControlSocket is where the supervisor listens. A path that a socket cannot have (about 100 bytes) moves to the
// folder for temporary files, under a name made from the data folder.
func (l Layout) ControlSocket() string {
	path := l.path("run", "control.sock")
	if len(path) <= 100 {
		return path
	}
	sum := sha256.Sum256([]byte(l.Data))
	return filepath.Join(os.TempDir(), "dishmesh-"+hex.EncodeToString(sum[:8])+".sock")
}

// OpenLayout resolves a data folder and makes its folders.
func OpenLayout(data string) (Layout, error) {
	abs, err := filepath.Abs(data)
	if err != nil {
		return Layout{}, err
	}
	l := Layout{Data: abs}
	for _, dir := range []string{abs, l.State(), l.Broker(), l.Scheduler(), l.Certs(), l.City(), l.Logs(), l.Run()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return Layout{}, fmt.Errorf("cannot use the data folder: choose a writable one with --data: %w", err)
		}
	}
	probe, err := os.CreateTemp(l.Run(), ".writable-")
	if err != nil {
		return Layout{}, fmt.Errorf("cannot write to the data folder: choose another one with --data: %w", err)
	}
	probe.Close()
	return l, os.Remove(probe.Name())
}

// needBytes is the room that a run must have on the disk of its data: a broker or a store that cannot write stops
// every order.
const needBytes = 256 << 20

// checkRoom refuses to start on a disk that is as good as full.
func checkRoom(l Layout) error {
	var st unix.Statfs_t
	if err := unix.Statfs(l.Data, &st); err != nil {
		return fmt.Errorf("look at the disk of %s: %w", l.Data, err)
	}
	if free := uint64(st.Bavail) * uint64(st.Bsize); free < needBytes {
		return fmt.Errorf("the disk of %s is full, %d MB are free and %d needed: make room, or choose another folder with --data", l.Data, free>>20, needBytes>>20)
	}
	return nil
}

// Home is the checkout that holds components/ and the sources of the services.
type Home struct{ Dir string }

// FindHome looks for the checkout: $DISHMESH_HOME, then upwards from the working folder, then from the program.
func FindHome() (Home, error) {
	if dir := os.Getenv("DISHMESH_HOME"); dir != "" {
		if !isHome(dir) {
			return Home{}, fmt.Errorf("DISHMESH_HOME=%s holds no go.mod of Dishmesh: set it to the checkout", dir)
		}
		abs, err := filepath.Abs(dir)
		return Home{Dir: abs}, err
	}
	var starts []string
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		starts = append(starts, filepath.Dir(exe))
	}
	for _, dir := range starts {
		for {
			if isHome(dir) {
				return Home{Dir: dir}, nil
			}
			up := filepath.Dir(dir)
			if up == dir {
				break
			}
			dir = up
		}
	}
	return Home{}, errors.New("no checkout of Dishmesh here: run this inside it, or set DISHMESH_HOME to it")
}

func isHome(dir string) bool {
	b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return false
	}
	first, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(first) == "module github.com/dishmesh/dishmesh"
}

// Components is the folder of the Dapr resources.
func (h Home) Components(elem ...string) string {
	return filepath.Join(append([]string{h.Dir, "components"}, elem...)...)
}

// RuntimeModule is the folder of the module that pins the Dapr runtime.
func (h Home) RuntimeModule() string { return h.Components("runtime") }
