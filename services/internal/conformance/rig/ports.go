package rig

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Ports are taken from below those that the operating system hands out for outgoing connections, so that a port stays
// free while what listens on it is away.
const (
	lowPort  = 12000
	highPort = 32000
)

// ports hands out ports, each once.
type ports struct {
	mu   sync.Mutex
	used map[int]bool
}

func (p *ports) pick() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used == nil {
		p.used = map[int]bool{}
	}
	for range 1000 {
		port := lowPort + rand.IntN(highPort-lowPort)
		if p.used[port] {
			continue
		}
		if ln, err := net.Listen("tcp", local(port)); err == nil {
			ln.Close()
			p.used[port] = true
			return port, nil
		}
	}
	return 0, errors.New("no free port found between 12000 and 32000 on 127.0.0.1")
}

// several picks n ports.
func (p *ports) several(n int) ([]int, error) {
	out := make([]int, n)
	for i := range out {
		var err error
		if out[i], err = p.pick(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// listen listens on a port that this process has just let go of. A child that another goroutine is starting holds a
// copy of every descriptor until its exec, and keeps the port busy so long: within a second it is free, or somebody
// else's.
func listen(port int) (net.Listener, error) {
	for deadline := time.Now().Add(time.Second); ; time.Sleep(time.Millisecond) {
		ln, err := net.Listen("tcp", local(port))
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(deadline) {
			return ln, err
		}
	}
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
