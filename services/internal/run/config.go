package run

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"text/tabwriter"
	"time"
)

// Load fills the struct that cfg points to from environment variables. Its fields carry the tags
//
//	env:"NAME" default:"value" help:"what it is for" required:"true" secret:"true"
//
// and are strings, bools, ints or durations; embedded structs are walked into. All faults are reported together.
func Load(cfg any, lookup func(string) (string, bool)) error {
	var errs []error
	for _, f := range fields(cfg) {
		value, ok := lookup(f.name)
		if !ok || value == "" {
			value = f.def
		}
		if value == "" {
			if f.required {
				errs = append(errs, fmt.Errorf("%s is not set: %s", f.name, f.help))
			}
			continue
		}
		if err := f.set(value); err != nil {
			errs = append(errs, fmt.Errorf("%s=%q: %w", f.name, f.shown(value), err))
		}
	}
	return errors.Join(errs...)
}

// Help prints the table of what can be set.
func Help(w io.Writer, name string, cfgs ...any) {
	fmt.Fprintf(w, "%s is one service of Dishmesh. It is set by environment variables:\n\n", name)
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	var all []field
	for _, cfg := range cfgs {
		all = append(all, fields(cfg)...)
	}
	for _, f := range all {
		def := f.def
		switch {
		case f.secret:
			def = "(secret)"
		case f.required:
			def = "(required)"
		case def == "":
			def = "-"
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\n", f.name, def, f.help)
	}
	t.Flush()
}

// Masked lists the settings in force for the start-up log line, without secrets.
func Masked(cfg any) map[string]string {
	m := map[string]string{}
	for _, f := range fields(cfg) {
		m[f.name] = f.shown(fmt.Sprint(f.value.Interface()))
	}
	return m
}

type field struct {
	name, def, help  string
	required, secret bool
	value            reflect.Value
}

func (f field) shown(value string) string {
	if f.secret && value != "" {
		return "******"
	}
	return value
}

func fields(cfg any) []field {
	var all []field
	v := reflect.ValueOf(cfg).Elem()
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		if sf.Anonymous {
			all = append(all, fields(v.Field(i).Addr().Interface())...)
			continue
		}
		name, ok := sf.Tag.Lookup("env")
		if !ok {
			continue
		}
		all = append(all, field{
			name: name, def: sf.Tag.Get("default"), help: sf.Tag.Get("help"),
			required: sf.Tag.Get("required") == "true", secret: sf.Tag.Get("secret") == "true", value: v.Field(i),
		})
	}
	return all
}

func (f field) set(s string) error {
	switch p := f.value.Addr().Interface().(type) {
	case *string:
		*p = s
	case *bool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return errors.New("must be true or false")
		}
		*p = b
	case *int:
		n, err := strconv.Atoi(s)
		if err != nil {
			return errors.New("must be an integer")
		}
		*p = n
	case *int64:
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return errors.New("must be an integer")
		}
		*p = n
	case *float64:
		n, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return errors.New("must be a number")
		}
		*p = n
	case *time.Duration:
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return errors.New("must be a duration such as 30s or 5m")
		}
		*p = d
	default:
		return fmt.Errorf("a setting of type %s is not supported", f.value.Type())
	}
	return nil
}
