package contract_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The definitions are checked by buf, of the version that .ci/tools pins. released.binpb is the image of the last
// release; nothing that is in it may change.
const (
	top      = "../../.."
	released = "released.binpb"
)

// pinned finds a program of the version that .ci/tools pins; the first time on a machine it is built, which takes a moment,
// for buf some minutes.
func pinned(t *testing.T, program string) string {
	t.Helper()
	cmd := exec.Command("go", "tool", "-modfile=.ci/tools/go.mod", "-n", program)
	cmd.Dir = top
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("%s can't be built: %s", program, exit.Stderr)
		}
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// run gives what a program says in dir, "" if it is content.
func run(t *testing.T, program, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if err == nil && len(out) > 0 {
		t.Logf("%s %s: %s", filepath.Base(program), strings.Join(args, " "), out)
		return ""
	}
	return string(out)
}

// definitions copies buf's configuration and all .proto files to a folder of their own and lists the latter.
func definitions(t *testing.T) (dir string, files []string) {
	t.Helper()
	dir = t.TempDir()
	take := func(name string) {
		text, err := os.ReadFile(filepath.Join(top, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"services/buf.yaml", "services/buf.gen.yaml", "go.mod", "go.sum"} {
		take(name)
	}
	err := filepath.WalkDir(filepath.Join(top, "services"), func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".proto" {
			name, relErr := filepath.Rel(top, path)
			if relErr != nil {
				return relErr
			}
			take(name)
			files = append(files, name)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("%d definitions, %v", len(files), err)
	}
	return dir, files
}

func image(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(released)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefinitions(t *testing.T) {
	program := pinned(t, "buf")
	for _, args := range [][]string{{"lint"}, {"format", "--diff", "--exit-code"}, {"breaking", "--against", image(t)}} {
		if said := run(t, program, filepath.Join(top, "services"), args...); said != "" {
			t.Errorf("buf %s:\n%s", strings.Join(args, " "), said)
		}
	}
}

// The generated code is that of the definitions: go generate ./services/internal/contract leaves no diff.
func TestGenerated(t *testing.T) {
	program := pinned(t, "buf")
	dir, _ := definitions(t)
	if said := run(t, program, filepath.Join(dir, "services"), "generate"); said != "" {
		t.Fatal(said)
	}
	same := 0
	compare := func(root, other string) {
		err := filepath.WalkDir(filepath.Join(root, "services"), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".pb.go") && !strings.HasSuffix(path, ".connect.go") {
				return err
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			a, errA := os.ReadFile(path)
			b, errB := os.ReadFile(filepath.Join(other, name))
			if errA != nil || errB != nil || string(a) != string(b) {
				t.Errorf("%s is not what its definition gives: go generate ./services/internal/contract", name)
			}
			same++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	compare(top, dir) // nothing is changed by hand or left over
	compare(dir, top) // nothing is missing
	if same == 0 {
		t.Error("no generated code found")
	}
}

// Deliberate breaks, one for each way in which a reader of yesterday would be lost. If one of them passed, the gate would
// be open.
func TestBreaksAreFound(t *testing.T) {
	program := pinned(t, "buf")
	const order = "services/order/orderapi/events.proto"
	for _, tt := range []struct{ name, file, old, new, want string }{
		{"a field is renamed", order, "string courier_note = 16;", "string note_to_courier = 16;", `Field "16" with name "note_to_courier" on message "PlacedEvent" changed`},
		{"a field is gone", order, "string promotion = 14;", "", `Previously present field "14" with name "promotion" on message "PlacedEvent" was deleted`},
		{"a field gets another number", order, "int64 total = 13;", "int64 total = 20;", `Previously present field "13" with name "total" on message "PlacedEvent" was deleted`},
		{"a field gets another type", order, "int32 prep_minutes = 4;", "string prep_minutes = 4;", `Field "4" with name "prep_minutes" on message "AcceptedEvent" changed type from "int32" to "string"`},
		{"a list becomes one", order, "repeated Item items = 6;", "Item items = 6;", `changed cardinality`},
		{"a message is gone", "services/payment/paymentapi/events.proto", "message Posting {", "message Entry {", `Previously present message "Event.Posting" was deleted`},
		{"a version is gone", "services/order/orderapi/orderv2/events.proto", "", "", `Previously present file "order/orderapi/orderv2/events.proto" was deleted`},
		{"a package is renamed", "services/user/userapi/events.proto", "package dishmesh.user.v1;", "package dishmesh.user.v2;", `File package changed from "dishmesh.user.v1" to "dishmesh.user.v2"`},
		{"nothing, a field is new", order, "string request_hash = 19;", "string channel = 20;\n  string request_hash = 19;", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, files := definitions(t)
			if !slices.Contains(files, tt.file) {
				t.Fatalf("there is no %s", tt.file)
			}
			path := filepath.Join(dir, tt.file)
			text, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(text), tt.old) {
				t.Fatalf("%q is not in %s (%v)", tt.old, tt.file, err)
			}
			if tt.old == "" {
				err = os.Remove(path)
			} else {
				// everywhere, so that what is left still compiles
				name := func(s string) string { return strings.Fields(s)[1] }
				edited := strings.Replace(string(text), tt.old, tt.new, 1)
				if strings.HasPrefix(tt.old, "message ") {
					edited = strings.ReplaceAll(edited, "repeated "+name(tt.old)+" ", "repeated "+name(tt.new)+" ")
				}
				err = os.WriteFile(path, []byte(edited), 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
			said := run(t, program, filepath.Join(dir, "services"), "breaking", "--against", image(t))
			if tt.want == "" && said != "" || !strings.Contains(said, tt.want) {
				t.Errorf("buf breaking says %q, want %q in it", said, tt.want)
			}
		})
	}
}
