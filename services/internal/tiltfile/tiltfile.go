// Package tiltfile runs a Tiltfile without Tilt, for tests: by Tilt's own interpreter of Starlark, of the same version and
// with the same settings, against stand-ins for Tilt's functions. They have the names and parameters of Tilt's
// (https://docs.tilt.dev/api.html), do nothing, and write down what they are asked for. A function or a parameter that
// Tilt does not have is an error, and so is what Tilt refuses once the file has run.
package tiltfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"
)

// Host is the machine and the call of Tilt that a Tiltfile sees.
type Host struct {
	// Context is the current Kubernetes context, "" for none.
	Context string
	// Args are what stands behind `tilt up`: positional ones, and flags by their name.
	Args  []string
	Flags map[string]string
	// Subcommand is up, ci or down.
	Subcommand string
	// Env is the environment.
	Env map[string]string
	// Run answers local().
	Run func(argv []string) (string, error)
}

// Resource is what Tilt shows as one line.
type Resource struct {
	Name string
	// Cluster tells a Kubernetes resource from a local one.
	Cluster bool
	// Commands are all that it may run: update, serve, apply, delete, readiness.
	Commands [][]string
	// Watches are the paths, from the Tiltfile's folder, whose change updates it.
	Watches []string
	// Needs are the resources that must be ready before it.
	Needs  []string
	Labels []string
	// Manual tells that it does nothing until it is asked to, or until a watched path changes.
	Manual bool
	// Sync is where live update sends which path, and Exec what it runs then.
	Sync map[string]string
	Exec []string
	// Forwards are the ports of this machine that lead to it.
	Forwards []int
	Links    []string
}

// Button is a button on a resource.
type Button struct {
	Name, Resource, Text string
	Command              []string
	// Choices are the values of each input that is a choice.
	Choices map[string][]string
}

// Result is what a Tiltfile declares.
type Result struct {
	Resources map[string]*Resource
	Buttons   map[string]*Button
}

// dialect is how Tilt has files interpreted.
var dialect = &syntax.FileOptions{Set: true, GlobalReassign: true, Recursion: true, TopLevelControl: true, While: true}

// Load runs the Tiltfile of a folder.
func Load(dir string, host Host) (*Result, error) {
	r := &runner{dir: dir, host: host, loaded: map[string]starlark.StringDict{},
		result: &Result{Resources: map[string]*Resource{}, Buttons: map[string]*Button{}}, flags: map[string]flag{}}
	if _, err := r.file("Tiltfile"); err != nil {
		return nil, explain(err)
	}
	return r.result, r.check()
}

// explain adds where a Starlark error happened.
func explain(err error) error {
	var where *starlark.EvalError
	if errors.As(err, &where) {
		return fmt.Errorf("%w\n%s", err, where.Backtrace())
	}
	return err
}

// flag is a setting that the file defined.
type flag struct {
	kind       string
	positional bool
}

// runner is one run of one Tiltfile.
type runner struct {
	dir    string
	host   Host
	loaded map[string]starlark.StringDict
	result *Result
	flags  map[string]flag
	parsed bool
	// steps are the steps of live updates that no resource has taken yet.
	steps []*step
}

// file runs one file, once; name is from the Tiltfile's folder.
func (r *runner) file(name string) (starlark.StringDict, error) {
	if globals, ok := r.loaded[name]; ok {
		if globals == nil {
			return nil, fmt.Errorf("%s loads itself", name)
		}
		return globals, nil
	}
	r.loaded[name] = nil
	content, err := os.ReadFile(filepath.Join(r.dir, name))
	if err != nil {
		return nil, err
	}
	thread := &starlark.Thread{Name: name, Load: func(_ *starlark.Thread, module string) (starlark.StringDict, error) {
		if strings.Contains(module, "://") {
			return nil, fmt.Errorf("%s: extensions are fetched from the network; write it here", module)
		}
		return r.file(filepath.Join(filepath.Dir(name), module))
	}}
	globals, err := starlark.ExecFileOptions(dialect, thread, name, content, r.builtins())
	if err != nil {
		return nil, err
	}
	r.loaded[name] = globals
	return globals, nil
}

// check holds what Tilt checks once the file has run.
func (r *runner) check() error {
	var wrong []error
	fault := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if len(r.flags) > 0 && !r.parsed {
		fault("settings are defined, but config.parse() is never called")
	}
	for _, s := range r.steps {
		fault("a step of a live update is used by nothing: %s", s.kind)
	}
	used := map[int]string{}
	for name, resource := range r.result.Resources {
		for _, need := range resource.Needs {
			if r.result.Resources[need] == nil {
				fault("%s depends on %s, which does not exist", name, need)
			}
		}
		for from := range resource.Sync {
			if !slices.ContainsFunc(resource.Watches, func(w string) bool { return within(from, w) }) {
				fault("%s: what is synced from %s is not watched", name, from)
			}
		}
		for _, port := range resource.Forwards {
			if other, ok := used[port]; ok {
				fault("port %d leads to %s and to %s", port, other, name)
			}
			used[port] = name
		}
		if resource.Cluster && r.host.Context == "" {
			fault("%s needs a Kubernetes context, and there is none", name)
		}
	}
	for _, circle := range r.circles() {
		fault("resources depend on each other: %s", strings.Join(circle, " "))
	}
	for name, button := range r.result.Buttons {
		if r.result.Resources[button.Resource] == nil {
			fault("the button %s is on %s, which does not exist", name, button.Resource)
		}
		if button.Command == nil {
			fault("the button %s does nothing", name)
		}
	}
	slices.SortFunc(wrong, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(wrong...)
}

// circles finds resources that depend on themselves by way of others.
func (r *runner) circles() [][]string {
	var found [][]string
	done := map[string]bool{}
	var visit func(name string, path []string)
	visit = func(name string, path []string) {
		if i := slices.Index(path, name); i >= 0 {
			found = append(found, append(slices.Clone(path[i:]), name))
			return
		}
		if done[name] || r.result.Resources[name] == nil {
			return
		}
		for _, need := range r.result.Resources[name].Needs {
			visit(need, append(slices.Clone(path), name))
		}
		done[name] = true
	}
	for name := range r.result.Resources {
		visit(name, nil)
	}
	return found
}

func within(path, folder string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && filepath.IsLocal(rel)
}

// listdir gives absolute paths, as Tilt does, and an error for a folder that does not exist.
func (r *runner) listdir(folder string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(r.dir, folder))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, filepath.Join(r.dir, folder, e.Name()))
		}
	}
	return names, nil
}

// module makes the functions below one name, as config and v1alpha1 are.
func module(name string, members starlark.StringDict) starlark.Value {
	return &starlarkstruct.Module{Name: name, Members: members}
}

// missing tells whether a file that may be missing is.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
