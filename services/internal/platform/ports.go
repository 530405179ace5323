package platform

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// Ports that no operating system hands out for outgoing connections, so that a port stays free for a child while it
// is being restarted.
const (
	lowPort  = 12000
	highPort = 32000
)

// Default ports of what people open.
const (
	DefaultGatewayPort = 8080
	DefaultCityPort    = 8090
)

// portBook chooses ports and remembers them from run to run, so that addresses stay the same as long as they can.
type portBook struct {
	path string
	old  map[string]int
	now  map[string]int
	used map[int]bool
}

func openPorts(l Layout) *portBook {
	b := &portBook{path: filepath.Join(l.Run(), "ports.json"), old: map[string]int{}, now: map[string]int{}, used: map[int]bool{}}
	// A missing or broken file only means that other ports are chosen.
	if raw, err := os.ReadFile(b.path); err == nil {
		_ = json.Unmarshal(raw, &b.old)
	}
	return b
}

// pick returns the port of the last run if it is free, otherwise any free one.
func (b *portBook) pick(name string) (int, error) {
	if p := b.old[name]; p >= lowPort && p < highPort && !b.used[p] && portFree(p) {
		return b.take(name, p), nil
	}
	for range 1000 {
		p := lowPort + rand.IntN(highPort-lowPort)
		if !b.used[p] && portFree(p) {
			return b.take(name, p), nil
		}
	}
	return 0, errors.New("no free port found between 12000 and 32000 on 127.0.0.1: stop what listens there")
}

// want returns the given port, or an error when it is busy.
func (b *portBook) want(name string, port int) (int, error) {
	if b.used[port] || !portFree(port) {
		return 0, &PortBusyError{Name: name, Port: port}
	}
	return b.take(name, port), nil
}

func (b *portBook) take(name string, port int) int {
	b.used[port] = true
	b.now[name] = port
	return port
}

// keepAll remembers every port of the last run, also of parts that are not started this time.
func (b *portBook) keepAll() {
	for name, port := range b.old {
		b.now[name] = port
	}
}

func (b *portBook) save() error { return writeJSON(b.path, b.now, 0o600) }

// PortBusyError says that a port that was asked for is taken.
type PortBusyError struct {
	Name string
	Port int
}

func (e *PortBusyError) Error() string {
	return fmt.Sprintf("port %d, asked for by %s, is busy: stop what listens there or choose another one", e.Port, e.Name)
}

func portFree(port int) bool {
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return ln.Close() == nil
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// writeJSON replaces a file as a whole, so that a reader never sees half of it.
func writeJSON(path string, v any, mode os.FileMode) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if err := tmp.Chmod(mode); err != nil {
		tmp.Close()
		return err
	}
	if _, err := tmp.Write(append(b, '\n')); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
