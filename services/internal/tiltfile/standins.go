package tiltfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

// call is one call of a stand-in: its parameters by name, None where they were not given.
type call map[string]starlark.Value

// function makes a stand-in. Parameters are in Tilt's order; the optional ones end in "?", as UnpackArgs wants it.
func function(name string, params []string, do func(call) (starlark.Value, error)) *starlark.Builtin {
	return starlark.NewBuiltin(name, func(_ *starlark.Thread, fn *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		values := make([]starlark.Value, len(params))
		var pairs []any
		for i, p := range params {
			pairs = append(pairs, p, &values[i])
		}
		if err := starlark.UnpackArgs(fn.Name(), args, kwargs, pairs...); err != nil {
			return nil, err
		}
		c := call{}
		for i, p := range params {
			if values[i] == nil {
				values[i] = starlark.None
			}
			c[strings.TrimRight(p, "?")] = values[i]
		}
		v, err := do(c)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", fn.Name(), err)
		}
		if v == nil {
			v = starlark.None
		}
		return v, nil
	})
}

// builtins are Tilt's functions that our files use. What is not here is unknown to the interpreter.
func (r *runner) builtins() starlark.StringDict {
	all := starlark.StringDict{
		"TRIGGER_MODE_AUTO":   starlark.String("auto"),
		"TRIGGER_MODE_MANUAL": starlark.String("manual"),
	}
	define := func(name string, params string, do func(call) (starlark.Value, error)) {
		all[name] = function(name, strings.Fields(params), do)
	}
	nothing := func(call) (starlark.Value, error) { return nil, nil }

	define("version_settings", "check_updates? constraint?", nothing)
	define("analytics_settings", "enable", nothing)
	define("update_settings", "max_parallel_updates? k8s_upsert_timeout_secs? suppress_unused_image_warnings? k8s_server_side_apply?", nothing)
	define("ci_settings", "k8s_grace_period? timeout? readiness_timeout?", nothing)
	define("watch_file", "file_path", nothing)
	define("fail", "msg", func(c call) (starlark.Value, error) { return nil, errors.New(text(c["msg"])) })
	define("k8s_context", "", func(call) (starlark.Value, error) { return starlark.String(r.host.Context), nil })
	define("local", "command quiet? command_bat? echo_off? env? dir? stdin?", r.local)
	define("listdir", "directory recursive?", func(c call) (starlark.Value, error) {
		names, err := r.listdir(text(c["directory"]))
		return list(names), err
	})
	define("read_json", "path default?", r.readJSON)

	define("local_resource", "name cmd? deps? trigger_mode? resource_deps? ignore? auto_init? serve_cmd? cmd_bat? serve_cmd_bat? allow_parallel? links? labels? env? serve_env? readiness_probe? dir? serve_dir?", r.localResource)
	define("k8s_custom_deploy", "name apply_cmd delete_cmd deps image_selector? live_update? apply_dir? apply_env? apply_cmd_bat? delete_dir? delete_env? delete_cmd_bat? container_selector? image_deps?", r.customDeploy)
	define("k8s_resource", "workload? new_name? port_forwards? extra_pod_selectors? trigger_mode? resource_deps? objects? auto_init? pod_readiness? links? labels? discovery_strategy?", r.k8sResource)
	define("port_forward", "local_port container_port? name? link_path? host?", object("local_port"))
	define("link", "url name?", object("url"))
	define("probe", "initial_delay_secs? timeout_secs? period_secs? success_threshold? failure_threshold? exec? http_get? tcp_socket?", object("exec"))
	define("exec_action", "command", object("command"))

	define("initial_sync", "", r.step("initial_sync"))
	define("sync", "local_path remote_path", r.step("sync"))
	define("run", "cmd trigger? echo_off?", r.step("run"))

	settings := starlark.StringDict{"tilt_subcommand": starlark.String(r.host.Subcommand), "main_dir": starlark.String(r.dir)}
	for _, kind := range []string{"string", "string_list", "bool"} {
		settings["define_"+kind] = function("config.define_"+kind, []string{"name", "args?", "usage?"}, r.define(kind))
	}
	settings["parse"] = function("config.parse", nil, r.parse)
	all["config"] = module("config", settings)

	all["os"] = module("os", starlark.StringDict{"getenv": function("os.getenv", []string{"key", "default?"}, func(c call) (starlark.Value, error) {
		if v, ok := r.host.Env[text(c["key"])]; ok {
			return starlark.String(v), nil
		}
		return c["default"], nil
	})})

	api := starlark.StringDict{}
	declare := func(name, params string, do func(call) (starlark.Value, error)) {
		api[name] = function("v1alpha1."+name, strings.Fields(params), do)
	}
	declare("ui_button", "name labels? annotations? location? text? icon_name? icon_svg? disabled? requires_confirmation? inputs?", r.button)
	declare("cmd", "name labels? annotations? args? dir? env? readiness_probe? restart_on? start_on? disable_source?", r.cmd)
	declare("ui_component_location", "component_id? component_type?", object("component_id"))
	declare("ui_input_spec", "name? label? text? bool? hidden? choice?", object("name", "choice"))
	declare("ui_choice_input_spec", "choices?", object("choices"))
	declare("start_on_spec", "start_after? ui_buttons?", object("ui_buttons"))
	all["v1alpha1"] = module("v1alpha1", api)
	return all
}

// object keeps some of the parameters, for who is given the value.
func object(names ...string) func(call) (starlark.Value, error) {
	return func(c call) (starlark.Value, error) {
		kept := starlark.StringDict{}
		for _, name := range names {
			kept[name] = c[name]
		}
		return starlarkstruct.FromStringDict(starlarkstruct.Default, kept), nil
	}
}

func (r *runner) local(c call) (starlark.Value, error) {
	argv, err := command(c["command"])
	if err != nil {
		return nil, err
	}
	out, err := r.host.Run(argv)
	return starlark.String(out), err
}

func (r *runner) readJSON(c call) (starlark.Value, error) {
	content, err := os.ReadFile(filepath.Join(r.dir, text(c["path"])))
	if missing(err) && c["default"] != starlark.None {
		return c["default"], nil
	}
	if err != nil {
		return nil, err
	}
	var values map[string]any
	if err := json.Unmarshal(content, &values); err != nil {
		return nil, err
	}
	out := starlark.NewDict(len(values))
	for key, value := range values {
		v := starlark.Value(starlark.String(fmt.Sprint(value)))
		if n, ok := value.(float64); ok {
			v = starlark.MakeInt(int(n))
		}
		if err := out.SetKey(starlark.String(key), v); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (r *runner) define(kind string) func(call) (starlark.Value, error) {
	return func(c call) (starlark.Value, error) {
		if r.parsed {
			return nil, errors.New("settings are defined before config.parse()")
		}
		r.flags[text(c["name"])] = flag{kind: kind, positional: bool(c["args"].Truth())}
		return nil, nil
	}
}

// parse gives the settings of the call, as their definitions allow.
func (r *runner) parse(call) (starlark.Value, error) {
	r.parsed = true
	out := starlark.NewDict(len(r.flags))
	for name, value := range r.host.Flags {
		f, ok := r.flags[name]
		if !ok || f.positional {
			return nil, fmt.Errorf("flag provided but not defined: -%s", name)
		}
		v := starlark.Value(starlark.String(value))
		if f.kind == "bool" {
			v = starlark.Bool(value == "true")
		}
		if err := out.SetKey(starlark.String(name), v); err != nil {
			return nil, err
		}
	}
	for name, f := range r.flags {
		if f.positional && len(r.host.Args) > 0 {
			return out, out.SetKey(starlark.String(name), list(r.host.Args))
		}
	}
	if len(r.host.Args) > 0 {
		return nil, fmt.Errorf("positional args are not expected: %v", r.host.Args)
	}
	return out, nil
}

// text is a value as Starlark's str() gives it, "" for None.
func text(v starlark.Value) string {
	switch v := v.(type) {
	case nil, starlark.NoneType:
		return ""
	case starlark.String:
		return string(v)
	}
	return v.String()
}

func list(values []string) *starlark.List {
	out := make([]starlark.Value, len(values))
	for i, v := range values {
		out[i] = starlark.String(v)
	}
	return starlark.NewList(out)
}

// each gives the members of a list, or the value itself, as Tilt's "one or more" parameters do.
func each(v starlark.Value) []starlark.Value {
	if v == nil || v == starlark.None {
		return nil
	}
	if sequence, ok := v.(starlark.Sequence); ok {
		var out []starlark.Value
		for x := range starlark.Elements(sequence) {
			out = append(out, x)
		}
		return out
	}
	return []starlark.Value{v}
}

func texts(v starlark.Value) []string {
	var out []string
	for _, x := range each(v) {
		out = append(out, text(x))
	}
	return out
}

// command reads a command as Tilt does: words, or one string for the shell.
func command(v starlark.Value) ([]string, error) {
	switch v := v.(type) {
	case starlark.String:
		return []string{"sh", "-c", string(v)}, nil
	case *starlark.List:
		words := texts(v)
		for i := range v.Len() {
			if _, ok := v.Index(i).(starlark.String); !ok {
				return nil, fmt.Errorf("a command is made of strings, not of %s", v.Index(i))
			}
		}
		if len(words) == 0 || slices.Contains(words, "") {
			return nil, fmt.Errorf("a command without words, or with an empty one: %q", words)
		}
		return words, nil
	}
	return nil, fmt.Errorf("a command is a string or a list of strings, not a %s", v.Type())
}

// attr is a member of a value that object made.
func attr(v starlark.Value, name string) starlark.Value {
	if s, ok := v.(*starlarkstruct.Struct); ok {
		if member, err := s.Attr(name); err == nil {
			return member
		}
	}
	return starlark.None
}
