package catalogue_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/contract"
	"github.com/dishmesh/dishmesh/services/internal/contract/catalogue"
)

var record = flag.Bool("update", false, "record samples of versions that have none yet; those that are there are never changed")

// A sample is a whole event as a release wrote it, with every field set: services/<app>/<app>api/testdata/events/
// <event>.v<version>.json. What the first release wrote, before there were protobuf messages, is <event>.v1-plain.json.
// samplesList holds the hash of every one, so that none is lost or changed.
const (
	services    = "../../.."
	samplesList = "testdata/samples.sha256"
)

type sample struct {
	file  string // below services/
	app   string
	event contract.Event
	index int // of the version
	plain bool
}

// wanted lists the samples that must be there.
func wanted() []sample {
	var all []sample
	owners := catalogue.Owners()
	for _, app := range slices.Sorted(maps.Keys(owners)) {
		for _, e := range owners[app].Events() {
			dir := app + "/" + app + "api/testdata/events/"
			for i := range e.Versions {
				all = append(all, sample{file: fmt.Sprintf("%s%s.v%d.json", dir, e.Name, i+1), app: app, event: e, index: i})
			}
			// Events that came after the protobuf messages have no plain form.
			if file := dir + e.Name + ".v1-plain.json"; exists(file) {
				all = append(all, sample{file: file, app: app, event: e, plain: true})
			}
		}
	}
	return all
}

func exists(file string) bool {
	_, err := os.Stat(filepath.Join(services, file))
	return err == nil
}

func TestSamples(t *testing.T) {
	if *record {
		recordMissing(t)
	}
	for _, s := range wanted() {
		t.Run(filepath.Base(s.file), func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(services, s.file))
			if err != nil {
				t.Fatalf("a released version has no sample; record it with: go test ./services/internal/contract/catalogue -update (%v)", err)
			}
			var e cloudevent.Event
			if err := json.Unmarshal(text, &e); err != nil {
				t.Fatal(err)
			}
			if err := e.Validate(); err != nil {
				t.Error(err)
			}
			if want := s.event.Versions[s.index].Schema(); !s.plain && e.DataSchema != want || s.plain && e.DataSchema != "" || e.Name() != s.event.Name {
				t.Fatalf("it is a %s of schema %q", e.Name(), e.DataSchema)
			}
			m, err := catalogue.Owners()[s.app].Decode(e)
			if err != nil {
				t.Fatal(err)
			}
			newest := s.event.Versions[len(s.event.Versions)-1]
			if m.ProtoReflect().Descriptor() != newest.Message().Descriptor() {
				t.Errorf("it is decoded into %T, not into the newest version", m)
			}
			now, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range lost(t, e.Data, now) {
				t.Errorf("%s is lost; what is left is %s", l, now)
			}
		})
	}
}

// lost lists the values of a payload that are not in another. Every value of a sample is there once only, so that it is
// found wherever an upcaster has put it; those that are not unique, true and false, must keep their number.
func lost(t *testing.T, from, to []byte) []string {
	t.Helper()
	var a, b any
	for raw, v := range map[*[]byte]*any{&from: &a, &to: &b} {
		if err := json.Unmarshal(*raw, v); err != nil {
			t.Fatal(err)
		}
	}
	left := map[string]int{}
	for _, l := range leaves("", b) {
		left[l.value]++
	}
	var all []string
	for _, l := range leaves("", a) {
		if left[l.value]--; left[l.value] < 0 {
			all = append(all, l.path+"="+l.value)
		}
	}
	return all
}

type leaf struct{ path, value string }

func leaves(path string, v any) []leaf {
	var all []leaf
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			all = append(all, leaves(path+"."+k, v[k])...)
		}
	case []any:
		for i, e := range v {
			all = append(all, leaves(fmt.Sprintf("%s[%d]", path, i), e)...)
		}
	default:
		all = append(all, leaf{path, fmt.Sprint(v)}) // a number and the same number as a string are the same value
	}
	return all
}

// TestSampleList holds the samples against the list of them: none may go, none may change, none may be forgotten.
func TestSampleList(t *testing.T) {
	text, err := os.ReadFile(samplesList)
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		sum, file, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if !ok {
			t.Fatalf("%s: no line of a hash and a file: %q", samplesList, line)
		}
		listed[file] = true
		switch got, err := hash(file); {
		case err != nil:
			t.Errorf("a released sample is gone: %v", err)
		case got != sum:
			t.Errorf("%s is not what was released; git checkout it", file)
		}
	}
	files, err := filepath.Glob(filepath.Join(services, "*/*api/testdata/events/*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d samples found, %v", len(files), err)
	}
	isWanted := map[string]bool{}
	for _, s := range wanted() {
		isWanted[s.file] = true
		if !listed[s.file] {
			t.Errorf("%s is not in %s; record it with: go test ./services/internal/contract/catalogue -update", s.file, samplesList)
		}
	}
	for _, path := range files {
		file, err := filepath.Rel(services, path)
		if err != nil {
			t.Fatal(err)
		}
		if file = filepath.ToSlash(file); !isWanted[file] {
			t.Errorf("%s is a sample of a version that is in no contract", file)
		}
	}
}

func hash(file string) (string, error) {
	text, err := os.ReadFile(filepath.Join(services, file))
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), err
}

// recordMissing writes samples of versions that have none and adds their hashes to the list.
func recordMissing(t *testing.T) {
	t.Helper()
	list, err := os.ReadFile(samplesList)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, s := range wanted() {
		if !exists(s.file) {
			write(t, s)
		}
		if !strings.Contains(string(list), "  "+s.file+"\n") {
			sum, err := hash(s.file)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, sum+"  "+s.file+"\n"...)
		}
	}
	if err := os.WriteFile(samplesList, list, 0o644); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, s sample) {
	t.Helper()
	v := s.event.Versions[s.index]
	m := v.Message().New()
	n := 0
	fill(m, &n)
	data, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m.Interface())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(cloudevent.Event{
		SpecVersion: "1.0", ID: s.app + "/sample/1", Source: "dishmesh/" + s.app, Type: cloudevent.Prefix + s.event.Name, Subject: "sample",
		Time: time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.UTC), DataContentType: "application/json", DataSchema: v.Schema(), Sequence: "1",
		CorrelationID: "sample", TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Data: data,
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(services, s.file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// fill sets every field of a message to a value that is there once only.
func fill(m protoreflect.Message, n *int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		one := func() protoreflect.Value {
			*n++
			switch f.Kind() {
			case protoreflect.StringKind:
				return protoreflect.ValueOfString(fmt.Sprintf("%s %d", strings.ReplaceAll(string(f.Name()), "_", " "), *n))
			case protoreflect.Int64Kind:
				return protoreflect.ValueOfInt64(int64(1000 + *n))
			case protoreflect.Int32Kind:
				return protoreflect.ValueOfInt32(int32(1000 + *n))
			case protoreflect.DoubleKind:
				return protoreflect.ValueOfFloat64(50 + float64(*n)/64)
			case protoreflect.BoolKind:
				return protoreflect.ValueOfBool(true)
			}
			panic(fmt.Sprintf("%s: fill knows no fields of kind %s: teach it", f.FullName(), f.Kind()))
		}
		part := func(m protoreflect.Message) {
			if ts, ok := m.Interface().(*timestamppb.Timestamp); ok {
				*n++
				proto.Merge(ts, timestamppb.New(time.Date(2026, 11, 22, 12, 0, *n, 123456789, time.UTC)))
				return
			}
			fill(m, n)
		}
		switch isMessage := f.Kind() == protoreflect.MessageKind; {
		case f.IsList() && isMessage:
			for range 2 {
				part(m.Mutable(f).List().AppendMutable().Message())
			}
		case f.IsList():
			m.Mutable(f).List().Append(one())
			m.Mutable(f).List().Append(one())
		case isMessage:
			part(m.Mutable(f).Message())
		default:
			m.Set(f, one())
		}
	}
}

// TestRules holds what is agreed on names: an event is called after its owner, and the message of version N lies in the
// package dishmesh.<owner>.vN.
func TestRules(t *testing.T) {
	for app, set := range catalogue.Owners() {
		for _, e := range set.Events() {
			if !strings.HasPrefix(e.Name, app+".") {
				t.Errorf("%s is not called after its owner %s", e.Name, app)
			}
			for i, v := range e.Versions {
				if got, want := string(v.Message().Descriptor().ParentFile().Package()), fmt.Sprintf("dishmesh.%s.v%d", app, i+1); got != want {
					t.Errorf("version %d of %s is of package %s, want %s", i+1, e.Name, got, want)
				}
			}
		}
	}
}

// A sample that lacks what was in it is noticed, wherever it was.
func TestLost(t *testing.T) {
	from := []byte(`{"a":"x","n":"5","list":[{"b":true},{"b":true}],"time":"2026-11-22T12:00:00Z"}`)
	for _, tt := range []struct {
		to   string
		want []string
	}{
		{`{"deep":{"a":"x","n":5,"list":[{"b":true},{"b":true}]},"time":"2026-11-22T12:00:00Z"}`, nil},
		{`{"a":"x","n":"6","list":[{"b":true}],"time":"2026-11-22T12:00:00Z"}`, []string{".list[1].b=true", ".n=5"}},
		{`{}`, []string{".a=x", ".list[0].b=true", ".list[1].b=true", ".n=5", ".time=2026-11-22T12:00:00Z"}},
	} {
		if got := lost(t, from, []byte(tt.to)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q is lost, want %q", tt.to, got, tt.want)
		}
	}
}
