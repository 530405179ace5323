package openapi

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
)

// source is what a package's source says about its types beyond what reflection knows: the comments, and the
// constants of its named string types, in the order of the source.
type source struct {
	types  map[string]string            // the type's comment
	fields map[string]map[string]string // by type and Go field name
	enums  map[string][]string          // values of the constants of a named string type
}

// Sources reads the source of packages below a module, each once.
type Sources struct {
	Module string // the module's path
	Root   string // the folder that it lies in
	read   map[string]source
}

func (s *Sources) of(t reflect.Type) (source, error) {
	rel, ok := strings.CutPrefix(strings.TrimSuffix(t.PkgPath(), "_test"), s.Module+"/") // external tests lie beside
	if !ok {
		return source{}, fmt.Errorf("%s is not of this module", t)
	}
	if src, ok := s.read[rel]; ok {
		return src, nil
	}
	files, err := filepath.Glob(filepath.Join(s.Root, filepath.FromSlash(rel), "*.go"))
	if err != nil {
		return source{}, err
	}
	src := source{types: map[string]string{}, fields: map[string]map[string]string{}, enums: map[string][]string{}}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return source{}, err
		}
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok {
				src.add(g)
			}
		}
	}
	if s.read == nil {
		s.read = map[string]source{}
	}
	s.read[rel] = src
	return src, nil
}

func (s source) add(g *ast.GenDecl) {
	for _, spec := range g.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			s.types[spec.Name.Name] = text(g.Doc, spec.Doc)
			st, ok := spec.Type.(*ast.StructType)
			if !ok {
				continue
			}
			fields := map[string]string{}
			for _, f := range st.Fields.List {
				for _, name := range f.Names {
					fields[name.Name] = text(f.Doc, f.Comment)
				}
			}
			s.fields[spec.Name.Name] = fields
		case *ast.ValueSpec:
			id, ok := spec.Type.(*ast.Ident)
			if g.Tok != token.CONST || !ok || len(spec.Values) != 1 {
				continue
			}
			if lit, ok := spec.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if v, err := strconv.Unquote(lit.Value); err == nil && v != "" {
					s.enums[id.Name] = append(s.enums[id.Name], v)
				}
			}
		}
	}
}

// text joins comments to one paragraph each.
func text(groups ...*ast.CommentGroup) string {
	var parts []string
	for _, g := range groups {
		if t := strings.TrimSpace(g.Text()); t != "" {
			parts = append(parts, strings.Join(strings.Fields(t), " "))
		}
	}
	return strings.Join(parts, " ")
}
