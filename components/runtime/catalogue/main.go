// Command catalogue writes down which component types the runtime of this module has and which settings each knows,
// for the check that `dishmesh up` makes before anything starts. The types are those that ../daprd registers; the
// settings are Dapr's own component metadata.
//
//	go run -mod=readonly ./catalogue > ../../services/internal/profile/catalogue.json
package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// registries are the calls in ../daprd/components.go and what they register.
var registries = map[string]string{"bindings": "bindings", "pubsub": "pubsub", "state": "state", "names": "nameresolution", "secrets": "secretstores"}

// based are the types of this module that take the settings of one of Dapr's.
var based = map[string]string{"pubsub.rabbitmq-confirmed": "pubsub.rabbitmq", "state.redis-atomic": "state.redis"}

// component is what the catalogue says of a type.
type component struct {
	Versions []string `json:"versions"`
	Settings []string `json:"settings,omitempty"`
	Required []string `json:"required,omitempty"`
}

func main() {
	out, err := catalogue()
	if err != nil {
		fmt.Fprintln(os.Stderr, "catalogue:", err)
		os.Exit(1)
	}
	fmt.Println(string(out))
}

func catalogue() ([]byte, error) {
	contrib, err := moduleDir("github.com/dapr/components-contrib")
	if err != nil {
		return nil, err
	}
	types := map[string]*component{}
	if err := registered(filepath.Join("daprd", "components.go"), types); err != nil {
		return nil, err
	}
	if err := settings(contrib, types); err != nil {
		return nil, err
	}
	for own, base := range based {
		if types[own] == nil || types[base] == nil {
			return nil, fmt.Errorf("%s or %s is not registered", own, base)
		}
		types[own].Settings, types[own].Required = types[base].Settings, types[base].Required
	}
	return json.MarshalIndent(types, "", " ")
}

func moduleDir(path string) (string, error) {
	out, err := exec.Command("go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", path).Output()
	return strings.TrimSpace(string(out)), err
}

// registered notes the names that a file's Register calls are given, and their versions.
func registered(file string, types map[string]*component) error {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		return err
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		fn, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !strings.HasPrefix(fn.Sel.Name, "Register") {
			return true
		}
		pkg := ""
		if registry, ok := fn.X.(*ast.SelectorExpr); ok {
			if id, ok := registry.X.(*ast.Ident); ok {
				pkg = id.Name
			}
		}
		versions := []string{"v1"}
		if strings.HasSuffix(fn.Sel.Name, "WithVersions") {
			versions = nil
			ast.Inspect(call, func(n ast.Node) bool {
				if kv, ok := n.(*ast.KeyValueExpr); ok {
					if key, ok := kv.Key.(*ast.Ident); ok && key.Name == "Version" {
						versions = append(versions, text(kv.Value))
					}
				}
				return true
			})
		}
		for _, arg := range call.Args {
			if name := text(arg); name != "" {
				slices.Sort(versions)
				types[registries[pkg]+"."+name] = &component{Versions: slices.Compact(versions)}
			}
		}
		return true
	})
	return nil
}

// text is the value of a string literal, empty for anything else.
func text(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return s
}

// field is one setting in a metadata.yaml.
type field struct {
	Name     string
	Required bool
}

type metadataFile struct {
	Type, Name, Version string
	Metadata            []field
	Profiles            []struct{ Metadata []field } `yaml:"authenticationProfiles"`
	Builtin             []struct {
		Name     string
		Metadata []field
	} `yaml:"builtinAuthenticationProfiles"`
}

// settings adds what the metadata.yaml of each type says. Two versions of a type share their settings here.
func settings(contrib string, types map[string]*component) error {
	return filepath.WalkDir(contrib, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "metadata.yaml" {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var m metadataFile
		if err := yaml.Unmarshal(raw, &m); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		c := types[m.Type+"."+m.Name]
		if c == nil {
			return nil
		}
		for _, f := range m.Metadata {
			c.Settings = append(c.Settings, f.Name)
			if f.Required {
				c.Required = append(c.Required, f.Name)
			}
		}
		for _, p := range m.Profiles {
			for _, f := range p.Metadata {
				c.Settings = append(c.Settings, f.Name)
			}
		}
		for _, p := range m.Builtin {
			for _, f := range p.Metadata {
				c.Settings = append(c.Settings, f.Name)
			}
		}
		slices.Sort(c.Settings)
		slices.Sort(c.Required)
		c.Settings, c.Required = slices.Compact(c.Settings), slices.Compact(c.Required)
		return nil
	})
}
