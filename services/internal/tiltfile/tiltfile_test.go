package tiltfile_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dishmesh/dishmesh/services/internal/tiltfile"
)

// What Tilt refuses, or does not have, is an error here too.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name, file string
		host       tiltfile.Host
		want       string
	}{
		{name: "a function that Tilt does not have", file: "k8s_apply('x')", want: "undefined: k8s_apply"},
		{name: "a parameter that it does not have", file: "local_resource('x', cmd=['true'], depends=['y'])", want: `unexpected keyword argument "depends"`},
		{name: "no command", file: "local_resource('x')", want: "must have a cmd and/or a serve_cmd"},
		{name: "a command with a number", file: "local_resource('x', cmd=['sleep', 1])", want: "a command is made of strings, not of 1"},
		{name: "the same name", file: "local_resource('x', cmd='true')\nlocal_resource('x', cmd='true')", want: `there is a resource "x" already`},
		{name: "a dependency that does not exist", file: "local_resource('x', cmd='true', resource_deps=['y'])", want: "x depends on y, which does not exist"},
		{name: "a circle", file: "local_resource('x', cmd='true', resource_deps=['y'])\nlocal_resource('y', cmd='true', resource_deps=['x'])", want: "resources depend on each other: "},
		{name: "a step that nothing uses", file: "sync('.', '/live')", want: "a step of a live update is used by nothing: sync"},
		{name: "a sync that is not watched", host: tiltfile.Host{Context: "c"}, want: "x: what is synced from bin is not watched",
			file: "k8s_custom_deploy('x', 'a', 'd', deps=['tilt'], container_selector='app', live_update=[sync('bin', '/live')])"},
		{name: "a live update of no container", host: tiltfile.Host{Context: "c"}, want: "a live update needs one selector",
			file: "k8s_custom_deploy('x', 'a', 'd', deps=['bin'], live_update=[sync('bin', '/live')])"},
		{name: "sync after run", host: tiltfile.Host{Context: "c"}, want: "sync may not follow run",
			file: "k8s_custom_deploy('x', 'a', 'd', deps=['bin'], container_selector='app', live_update=[run(['true']), sync('bin', '/live')])"},
		{name: "no cluster", file: "k8s_custom_deploy('x', 'a', 'd', deps=[])", want: "x needs a Kubernetes context, and there is none"},
		{name: "a workload that does not exist", file: "k8s_resource('x', labels=['y'])", want: `could not find the workload "x"`},
		{name: "a port twice", host: tiltfile.Host{Context: "c"}, want: "port 90 leads to ",
			file: "[(k8s_custom_deploy(n, 'a', 'd', deps=[]), k8s_resource(n, port_forwards=port_forward(90))) for n in ['x', 'y']]"},
		{name: "a flag that is not defined", file: "config.parse()", host: tiltfile.Host{Flags: map[string]string{"fast": "true"}}, want: "flag provided but not defined: -fast"},
		{name: "settings that are never read", file: "config.define_bool('fast')", want: "config.parse() is never called"},
		{name: "a button on nothing", want: "the button b is on x, which does not exist",
			file: "v1alpha1.ui_button('b', location=v1alpha1.ui_component_location(component_type='Resource', component_id='x'))"},
		{name: "a command without a button", file: "v1alpha1.cmd('b', args=['true'])", want: "b is started by no button"},
		{name: "an extension", file: "load('ext://uibutton', 'cmd_button')", want: "extensions are fetched from the network"},
		{name: "its own words", file: "fail('no such service')", want: "no such service"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "Tiltfile"), []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := tiltfile.Load(dir, c.host)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
