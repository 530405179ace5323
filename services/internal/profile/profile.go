// Package profile is how a broker and stores are chosen: a profile is a folder of components/ that holds only what
// differs from the profiles it extends. Laid over each other they give one set of Dapr resources, and the servers that
// those resources name by the variables of their envRefs.
//
// Nothing here starts a process; package platform turns a profile's servers into supervised parts.
package profile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Default is the profile that needs nothing but this machine; every other one extends it.
const Default = "embedded"

// descriptorFile describes a profile in its folder. It is no Dapr resource.
const descriptorFile = "profile.yaml"

// kustomizationFile says what the cluster takes of a folder. It is no Dapr resource either.
const kustomizationFile = "kustomization.yaml"

// shared are the folders of components/ whose resources hold for every profile, unless one replaces them.
func shared() []string { return []string{"subscriptions", "resiliency"} }

// Descriptor is a profile.yaml.
type Descriptor struct {
	// Name is the name of the folder.
	Name string `yaml:"-" json:"name"`
	// Description says in one sentence what the profile is for.
	Description string `yaml:"description" json:"description"`
	// Extends are the profiles below, the first one lowest; empty means Default (for Default itself: none).
	Extends []Layer `yaml:"extends,omitempty" json:"extends,omitempty"`
	// Servers are the servers that this profile brings along, by name (see Servers). A server is only needed if a
	// resource of the whole refers to a variable that it sets.
	Servers []string `yaml:"servers,omitempty" json:"servers,omitempty"`
	// NotRun says why the project's own tests do not run the profile; empty when they do.
	NotRun string `yaml:"not_run,omitempty" json:"not_run,omitempty"`
}

// Layer names a profile that another one extends.
type Layer struct {
	Profile string `yaml:"profile" json:"profile"`
	// Only are the names of the resources that are taken of it; empty means all.
	Only []string `yaml:"only,omitempty" json:"only,omitempty"`
}

// Profile is what a choice such as "kafka,postgres" comes to.
type Profile struct {
	// Spec is the choice as it was given, without blanks.
	Spec string
	// Layers are the profiles that were laid over each other, the lowest first.
	Layers []Descriptor
	// Resources are the Dapr resources in force, by kind and name.
	Resources []Resource
	// Servers are the names of the servers that the resources need, in the order of their start.
	Servers []string
}

// List describes every profile of a components folder, the default first, then by name.
func List(components string) ([]Descriptor, error) {
	files, err := filepath.Glob(filepath.Join(components, "*", descriptorFile))
	if err != nil {
		return nil, err
	}
	var out []Descriptor
	for _, file := range files {
		d, err := readDescriptor(file)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b Descriptor) int {
		if (a.Name == Default) != (b.Name == Default) {
			if a.Name == Default {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out, nil
}

// Load lays the profiles of spec, names separated by commas, over each other in that order. A resource replaces one of
// the same kind and name below it. Every fault of a file is reported, each in a line with file, line and mend.
func Load(components, spec string) (*Profile, error) {
	all, err := List(components)
	if err != nil {
		return nil, err
	}
	l := loader{components: components, known: map[string]Descriptor{}, merged: map[string]Resource{}}
	var names []string
	for _, d := range all {
		l.known[d.Name] = d
		names = append(names, d.Name)
	}
	chosen := strings.FieldsFunc(spec, func(r rune) bool { return r == ',' || r == ' ' })
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no profile given: choose one of %s with --profile", strings.Join(names, ", "))
	}
	for _, name := range chosen {
		if _, ok := l.known[name]; !ok {
			return nil, fmt.Errorf("there is no profile %q: choose one of %s with --profile, or several as in kafka,postgres", name, strings.Join(names, ", "))
		}
	}
	for _, folder := range shared() {
		if err := l.folder(folder, nil); err != nil {
			return nil, err
		}
	}
	for _, name := range chosen {
		if err := l.layer(Layer{Profile: name}, nil); err != nil {
			return nil, err
		}
	}
	p := &Profile{Spec: strings.Join(chosen, ","), Layers: l.layers}
	for _, r := range l.merged {
		p.Resources = append(p.Resources, r)
	}
	slices.SortFunc(p.Resources, func(a, b Resource) int { return strings.Compare(a.key(), b.key()) })
	if err := errors.Join(append(l.faults, Check(p.Resources)...)...); err != nil {
		return nil, err
	}
	p.Servers, err = neededServers(p.Layers, p.Resources)
	return p, err
}

// Write puts the resources into a folder of their own, a file each, for daprd's --resources-path. What was there
// before goes.
func (p *Profile) Write(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, r := range p.Resources {
		name := strings.ToLower(r.Kind) + "-" + r.Name + ".yaml"
		head := "# From " + r.File + ", by the profile " + p.Spec + ". Written at every start: change it there.\n"
		if err := os.WriteFile(filepath.Join(dir, name), append([]byte(head), r.Raw...), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Component returns the component called name; ok is false when there is none.
func (p *Profile) Component(name string) (r Resource, ok bool) {
	i := slices.IndexFunc(p.Resources, func(r Resource) bool { return r.Kind == "Component" && r.Name == name })
	if i < 0 {
		return Resource{}, false
	}
	return p.Resources[i], true
}

type loader struct {
	components string
	known      map[string]Descriptor
	merged     map[string]Resource
	layers     []Descriptor
	faults     []error
}

// layer lays a profile over what is there: what it extends first, then its own files. A profile that is below several
// others is laid once.
func (l *loader) layer(layer Layer, above []string) error {
	if slices.Contains(above, layer.Profile) {
		return fmt.Errorf("profiles extend each other in a circle: %s → %s: take one extends away", strings.Join(above, " → "), layer.Profile)
	}
	d, ok := l.known[layer.Profile]
	if !ok {
		return fmt.Errorf("%s: extends the unknown profile %q", l.relative(above[len(above)-1], descriptorFile), layer.Profile)
	}
	extends := d.Extends
	if len(extends) == 0 && d.Name != Default {
		extends = []Layer{{Profile: Default}}
	}
	if len(layer.Only) == 0 {
		laid := slices.ContainsFunc(l.layers, func(have Descriptor) bool { return have.Name == d.Name })
		if laid && d.Name == Default && len(above) > 0 {
			return nil
		}
		for _, below := range extends {
			if err := l.layer(below, append(above, d.Name)); err != nil {
				return err
			}
		}
	}
	l.layers = append(slices.DeleteFunc(l.layers, func(have Descriptor) bool { return have.Name == d.Name }), d)
	return l.folder(d.Name, layer.Only)
}

// folder merges the resources of a folder, all or those named.
func (l *loader) folder(name string, only []string) error {
	resources, err := readFolder(l.components, name)
	if err != nil {
		return err
	}
	taken := map[string]bool{}
	own := map[string]string{}
	for _, r := range resources {
		if at, twice := own[r.key()]; twice {
			l.faults = append(l.faults, fmt.Errorf("%s: %s %s is there already, at %s: take one away", r.At(), r.Kind, r.Name, at))
		}
		own[r.key()] = r.At()
		if len(only) > 0 && !slices.Contains(only, r.Name) {
			continue
		}
		taken[r.Name] = true
		l.merged[r.key()] = r
	}
	for _, want := range only {
		if !taken[want] {
			return fmt.Errorf("%s: takes only %s of a profile that has no such resource", l.relative(name, descriptorFile), want)
		}
	}
	return nil
}

func (l *loader) relative(elem ...string) string {
	return filepath.Join(append([]string{"components"}, elem...)...)
}

func readDescriptor(file string) (Descriptor, error) {
	name := filepath.Base(filepath.Dir(file))
	shown := filepath.Join("components", name, descriptorFile)
	raw, err := os.ReadFile(file)
	if err != nil {
		return Descriptor{}, err
	}
	var d Descriptor
	dec := yaml.NewDecoder(strings.NewReader(string(raw)))
	dec.KnownFields(true)
	if err := dec.Decode(&d); err != nil {
		return d, yamlFault(shown, 0, err)
	}
	d.Name = name
	if d.Description == "" {
		return d, fmt.Errorf("%s: has no description: add one sentence", shown)
	}
	for _, s := range d.Servers {
		if _, ok := serverByName(s); !ok {
			return d, fmt.Errorf("%s: names the unknown server %q: choose of %s", shown, s, strings.Join(ServerNames(), ", "))
		}
	}
	return d, nil
}

// EventServer is the server that the component "events" connects to; empty when there is none.
func (p *Profile) EventServer() string {
	events, ok := p.Component("events")
	if !ok {
		return ""
	}
	for _, s := range p.ServerList() {
		for _, v := range s.Vars() {
			if slices.ContainsFunc(events.Metadata, func(set Setting) bool { return set.EnvRef == v }) {
				return s.Name()
			}
		}
	}
	return ""
}
