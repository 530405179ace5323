package menu

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"sigs.k8s.io/yaml"

	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
)

//go:embed seed/*.yaml
var seedFiles embed.FS

// readSeed reads one restaurant from each file of seed/, strictly, and reports every fault.
func readSeed(files fs.FS) ([]offer, error) {
	names, err := fs.Glob(files, "seed/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("seed: %w", err)
	}
	var offers []offer
	var errs []error
	seen := map[string]string{}
	for _, name := range names {
		b, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("seed: %w", err)
		}
		o := offer{}
		if err := yaml.UnmarshalStrict(b, &o); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			continue
		}
		if err := check(o, seen, name); err != nil {
			errs = append(errs, err)
			continue
		}
		for i := range o.Items {
			o.Items[i].Available = true // a fresh kitchen has everything
		}
		offers = append(offers, o)
	}
	return offers, errors.Join(errs...)
}

// check holds the rules that a menu must keep; seen maps the ids of other files to their names.
func check(o offer, seen map[string]string, name string) error {
	var errs []error
	fault := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: "+format, append([]any{name}, args...)...))
	}
	unique := func(id string) {
		if other, ok := seen[id]; ok {
			fault("id %s is taken, see %s", id, other)
		}
		seen[id] = name
	}
	if err := web.Validate(&o.Restaurant); err != nil {
		fault("%w", err)
	}
	if _, err := o.Restaurant.Schedule(); err != nil {
		fault("%w", err)
	}
	unique(o.Restaurant.ID)
	if len(o.Items) == 0 {
		fault("no items")
	}
	for _, i := range o.Items {
		if err := web.Validate(&i); err != nil {
			fault("%s: %w", i.ID, err)
		}
		unique(i.ID)
		checkOptions(i, fault)
	}
	return errors.Join(errs...)
}

func checkOptions(i menuapi.Item, fault func(format string, args ...any)) {
	options := map[string]bool{}
	for _, g := range i.OptionGroups {
		if g.Max > len(g.Options) {
			fault("%s: group %s: at most %d of %d options", i.ID, g.ID, g.Max, len(g.Options))
		}
		for _, o := range g.Options {
			if options[o.ID] {
				fault("%s: option %s is there twice", i.ID, o.ID)
			}
			options[o.ID] = true
		}
	}
}
