package rights

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// Server is one of the servers that services share.
type Server interface {
	Ensure(ctx context.Context) error
}

// Keeper looks at the servers again and again.
type Keeper struct {
	Servers []Server
	Every   time.Duration // pause after all was well
	Log     *slog.Logger
	well    atomic.Bool
}

const (
	// retryPause is the pause after something failed: servers start at the same time as their keeper.
	retryPause = time.Second
	// ensureTimeout bounds one look at one server.
	ensureTimeout = 30 * time.Second
)

// Once looks at every server and goes on to the next if one fails.
func (k *Keeper) Once(ctx context.Context) error {
	var failed error
	for _, s := range k.Servers {
		ctx, cancel := context.WithTimeout(ctx, ensureTimeout)
		err := s.Ensure(ctx)
		cancel()
		if err != nil && failed == nil {
			failed = err
		}
	}
	k.well.Store(failed == nil)
	return failed
}

// Run looks until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	const nothing, well = "", "well"
	for said := nothing; ctx.Err() == nil; {
		pause, now := k.Every, well
		err := k.Once(ctx)
		if err != nil {
			pause, now = retryPause, err.Error()
		}
		if now != said && ctx.Err() == nil {
			if err != nil {
				k.Log.Warn("not all is as declared", "error", err)
			} else {
				k.Log.Info("all is as declared")
			}
		}
		said = now
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// Routes serves /healthz, and /readyz, which says whether all was well at the last look.
func (k *Keeper) Routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !k.well.Load() {
			http.Error(w, "not all is as declared yet", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

// ReadPasswords reads a folder with a file for each user, as Kubernetes mounts a secret.
func ReadPasswords(dir string) (map[string]string, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("passwords: %w", err)
	}
	out := map[string]string{}
	for _, f := range files {
		// Kubernetes keeps the files behind links in hidden folders.
		if strings.HasPrefix(f.Name(), ".") {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, fmt.Errorf("passwords: %w", err)
		}
		out[f.Name()] = strings.TrimSpace(string(raw))
	}
	if out[Admin] == "" {
		return nil, fmt.Errorf("passwords: %s has no file %s: mount the secret of the server's users there", dir, Admin)
	}
	return out, nil
}
