// Package daprruntime finds the programs of the Dapr runtime on this machine, or builds them once.
//
// The platform needs daprd, placement, scheduler and sentry of exactly one version. A set of that version that is
// already installed is used as it is; otherwise the set is built from the pinned module components/runtime into the
// user's cache folder, from which every later start takes it at once.
package daprruntime

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// Version is the release of Dapr that the platform runs. components/runtime/go.mod requires the same one.
const Version = "1.18.0"

// The programs of the runtime, by the last element of their import path.
const (
	Daprd     = "daprd"
	Placement = "placement"
	Scheduler = "scheduler"
	Sentry    = "sentry"
)

// Programs lists every program that a Runtime holds.
func Programs() []string { return []string{Daprd, Placement, Scheduler, Sentry} }

// buildPath is what the pinned module builds a program from: daprd from its own main package, which registers the
// components that are used, the others as Dapr has them.
func buildPath(program string) string {
	if program == Daprd {
		return "./daprd"
	}
	return "github.com/dapr/dapr/cmd/" + program
}

// Runtime is a usable set of programs of one version.
type Runtime struct {
	// Dir holds all the programs.
	Dir string
	// Source says where the set came from, for people: "cache", "built" or the folder it was found in.
	Source string
}

// Path returns the absolute path of one of Programs.
func (r Runtime) Path(program string) string { return filepath.Join(r.Dir, program) }

// Progress tells how far a build is. It is reported from one goroutine.
type Progress struct {
	// Step is what is being done, in words.
	Step string
	// Done and Total count packages; Total is 0 while it isn't known.
	Done, Total int
	// Elapsed is the time since the build began.
	Elapsed time.Duration
}

// Remaining estimates the time to the end of the build, 0 when nothing is known yet.
func (p Progress) Remaining() time.Duration {
	if p.Done < 20 || p.Total <= p.Done {
		return 0
	}
	return time.Duration(float64(p.Elapsed) / float64(p.Done) * float64(p.Total-p.Done)).Round(time.Second)
}

// Options says where to look and where to build.
type Options struct {
	// ModuleDir is the folder of the pinned module, components/runtime of the checkout.
	ModuleDir string
	// CacheDir holds built sets; empty means DefaultCacheDir.
	CacheDir string
	// SkipInstalled leaves out the search on PATH and in ~/.dapr/bin.
	SkipInstalled bool
	// Progress is called while building; nil means silence.
	Progress func(Progress)
}

// ErrNotBuilt is returned by Find when no usable set exists yet.
var ErrNotBuilt = errors.New("the Dapr runtime is not built yet")

// Find returns an installed or cached set without building one; ErrNotBuilt when there is none.
func Find(ctx context.Context, opts Options) (Runtime, error) {
	if !opts.SkipInstalled {
		if rt, ok := findInstalled(ctx); ok {
			return rt, nil
		}
	}
	dir, err := cacheFolder(ctx, opts)
	if err != nil {
		return Runtime{}, err
	}
	if checkManifest(dir) == nil {
		return Runtime{Dir: dir, Source: "cache"}, nil
	}
	return Runtime{}, ErrNotBuilt
}

// Ensure returns a usable set and builds it first when there is none. Two processes that need it at the same time
// build it once. Every error is one line that says how to mend it.
func Ensure(ctx context.Context, opts Options) (Runtime, error) {
	rt, err := Find(ctx, opts)
	if !errors.Is(err, ErrNotBuilt) {
		return rt, err
	}
	dir, err := cacheFolder(ctx, opts)
	if err != nil {
		return Runtime{}, err
	}
	report := opts.Progress
	if report == nil {
		report = func(Progress) {}
	}
	unlock, err := lockFolder(ctx, dir+".lock", func() { report(Progress{Step: "waiting for another build of the Dapr runtime"}) })
	if err != nil {
		return Runtime{}, fmt.Errorf("lock the runtime cache: %w", err)
	}
	defer unlock()
	if checkManifest(dir) == nil {
		return Runtime{Dir: dir, Source: "cache"}, nil
	}
	if err := build(ctx, opts.ModuleDir, dir, report); err != nil {
		return Runtime{}, err
	}
	return Runtime{Dir: dir, Source: "built"}, nil
}
