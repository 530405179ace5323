package tiltfile

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"go.starlark.net/starlark"
)

// step is a step of a live update.
type step struct {
	kind     string
	from, to string
	argv     []string
}

func (*step) String() string        { return "step" }
func (*step) Type() string          { return "live_update_step" }
func (*step) Freeze()               {}
func (*step) Truth() starlark.Bool  { return true }
func (*step) Hash() (uint32, error) { return 0, errors.New("unhashable") }

func (r *runner) step(kind string) func(call) (starlark.Value, error) {
	return func(c call) (starlark.Value, error) {
		s := &step{kind: kind, from: text(c["local_path"]), to: text(c["remote_path"])}
		if kind == "sync" && !path.IsAbs(s.to) {
			return nil, fmt.Errorf("%s is no absolute path of the container", s.to)
		}
		if kind == "run" {
			var err error
			if s.argv, err = command(c["cmd"]); err != nil {
				return nil, err
			}
		}
		r.steps = append(r.steps, s)
		return s, nil
	}
}

func (r *runner) add(name string, res *Resource) error {
	if name == "" || r.result.Resources[name] != nil {
		return fmt.Errorf("there is a resource %q already", name)
	}
	res.Name = name
	r.result.Resources[name] = res
	return nil
}

func (r *runner) localResource(c call) (starlark.Value, error) {
	res := &Resource{Watches: texts(c["deps"]), Needs: texts(c["resource_deps"]), Labels: texts(c["labels"]),
		Manual: c["auto_init"] == starlark.False}
	for _, name := range []string{"cmd", "serve_cmd"} {
		if c[name] == starlark.None {
			continue
		}
		argv, err := command(c[name])
		if err != nil {
			return nil, err
		}
		res.Commands = append(res.Commands, argv)
	}
	if len(res.Commands) == 0 {
		return nil, errors.New("must have a cmd and/or a serve_cmd, but both were empty")
	}
	if c["readiness_probe"] != starlark.None {
		argv, err := command(attr(attr(c["readiness_probe"], "exec"), "command"))
		if err != nil {
			return nil, err
		}
		res.Commands = append(res.Commands, argv)
	}
	for _, l := range each(c["links"]) {
		res.Links = append(res.Links, text(attr(l, "url")))
	}
	return nil, r.add(text(c["name"]), res)
}

func (r *runner) customDeploy(c call) (starlark.Value, error) {
	res := &Resource{Cluster: true, Watches: texts(c["deps"])}
	for _, name := range []string{"apply_cmd", "delete_cmd"} {
		argv, err := command(c[name])
		if err != nil {
			return nil, err
		}
		res.Commands = append(res.Commands, argv)
	}
	steps := each(c["live_update"])
	if selectors := len(texts(c["container_selector"])) + len(texts(c["image_selector"])); len(steps) > 0 && selectors != 1 {
		return nil, errors.New("a live update needs one selector")
	}
	for i, v := range steps {
		s, ok := v.(*step)
		if !ok {
			return nil, fmt.Errorf("%s is no step of a live update", v)
		}
		r.steps = slices.DeleteFunc(r.steps, func(other *step) bool { return other == s })
		switch {
		case s.kind == "initial_sync" && i > 0:
			return nil, errors.New("initial_sync may only stand first")
		case s.kind == "sync" && res.Exec != nil:
			return nil, errors.New("sync may not follow run")
		case s.kind == "sync" && res.Sync == nil:
			res.Sync = map[string]string{s.from: s.to}
		case s.kind == "sync":
			res.Sync[s.from] = s.to
		case s.kind == "run":
			res.Exec = s.argv
		}
	}
	return nil, r.add(text(c["name"]), res)
}

func (r *runner) k8sResource(c call) (starlark.Value, error) {
	res := r.result.Resources[text(c["workload"])]
	if res == nil || !res.Cluster {
		return nil, fmt.Errorf("could not find the workload %q", text(c["workload"]))
	}
	res.Needs = append(res.Needs, texts(c["resource_deps"])...)
	res.Labels = append(res.Labels, texts(c["labels"])...)
	for _, f := range each(c["port_forwards"]) {
		port, err := starlark.AsInt32(attr(f, "local_port"))
		if err != nil {
			return nil, fmt.Errorf("port_forwards: %w", err)
		}
		res.Forwards = append(res.Forwards, port)
	}
	return nil, nil
}

func (r *runner) button(c call) (starlark.Value, error) {
	b := &Button{Name: text(c["name"]), Resource: text(attr(c["location"], "component_id")), Text: text(c["text"])}
	if r.result.Buttons[b.Name] != nil {
		return nil, fmt.Errorf("there is a button %q already", b.Name)
	}
	for _, input := range each(c["inputs"]) {
		choices := texts(attr(attr(input, "choice"), "choices"))
		if len(choices) == 0 {
			return nil, fmt.Errorf("the input %s has nothing to choose from", text(attr(input, "name")))
		}
		if b.Choices == nil {
			b.Choices = map[string][]string{}
		}
		b.Choices[text(attr(input, "name"))] = choices
	}
	r.result.Buttons[b.Name] = b
	return nil, nil
}

// cmd is the command of a button. Tilt starts one without a button at once, which none of ours means.
func (r *runner) cmd(c call) (starlark.Value, error) {
	argv, err := command(c["args"])
	if err != nil {
		return nil, err
	}
	buttons := texts(attr(c["start_on"], "ui_buttons"))
	if len(buttons) != 1 || r.result.Buttons[buttons[0]] == nil {
		return nil, fmt.Errorf("%s is started by no button", text(c["name"]))
	}
	for _, env := range texts(c["env"]) {
		if !strings.Contains(env, "=") {
			return nil, fmt.Errorf("env: %q is no KEY=VALUE", env)
		}
	}
	r.result.Buttons[buttons[0]].Command = argv
	return nil, nil
}
