//go:build faults

package crash

import (
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// Points is what the process of an instance calls at its named points; nil: nothing is to be called.
func Points(instance string) func(point string) {
	folder := os.Getenv(FolderVariable)
	if folder == "" {
		return nil
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		slog.Error("crash points", "error", err)
		return nil
	}
	if err := os.WriteFile(readyFile(folder, instance), nil, 0o600); err != nil {
		slog.Error("crash points", "error", err)
		return nil
	}
	p := &passes{file: filepath.Join(folder, instance)}
	return p.pass
}

// passes counts the passes of the point that is armed.
type passes struct {
	file string

	mu    sync.Mutex
	armed string
	n     int
}

func (p *passes) pass(point string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	raw, err := os.ReadFile(p.file)
	if err != nil {
		return // nothing is armed
	}
	if string(raw) != p.armed {
		p.armed, p.n = string(raw), 0
	}
	at, n, err := parse(p.armed)
	if err != nil || at != point {
		return
	}
	if p.n++; p.n < n || os.Remove(p.file) != nil {
		return
	}
	// The lock is held: no other goroutine passes a point meanwhile.
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
