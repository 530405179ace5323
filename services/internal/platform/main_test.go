package platform

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test program play the children that the tests supervise, and a supervisor that is killed.
func TestMain(m *testing.M) {
	switch os.Getenv("FAKE_ROLE") {
	case "child":
		fakeChild()
	case "supervisor":
		fakeSupervisor()
	default:
		os.Exit(m.Run())
	}
}

// fakeChild notes its start and its end in a journal and answers /healthz in between.
func fakeChild() {
	name := os.Getenv("FAKE_NAME")
	if os.Getenv("FAKE_CRASH") != "" {
		fmt.Println("first line of the log")
		fmt.Println("cannot go on: the disk is on fire")
		os.Exit(7)
	}
	journal(name + " started")
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	if delay, err := time.ParseDuration(os.Getenv("FAKE_DELAY")); err == nil {
		<-time.After(delay)
	}
	journal(name + " ready")
	go func() {
		err := http.ListenAndServe(os.Getenv("FAKE_ADDR"), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNoContent)
		}))
		fmt.Println(err)
		os.Exit(1)
	}()
	<-term
	journal(name + " stopping")
	if os.Getenv("FAKE_STUBBORN") != "" {
		select {}
	}
	os.Exit(0)
}

func journal(line string) {
	f, err := os.OpenFile(os.Getenv("FAKE_JOURNAL"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		fmt.Fprintln(f, line)
		f.Close()
	}
}

// fakeSupervisor runs one child until it is killed.
func fakeSupervisor() {
	dir := os.Getenv("FAKE_DIR")
	w := &world{dir: dir}
	s, err := NewSupervisor(SupervisorConfig{Parts: []Part{w.part("only", os.Getenv("FAKE_ADDR"))}, LogPath: w.log})
	if err == nil {
		err = s.Start(context.Background())
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	b, err := json.Marshal(s.records())
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "records.json"), b, 0o600)
	}
	if err != nil {
		os.Exit(1)
	}
	select {}
}

// world is where fake children live.
type world struct{ dir string }

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{dir: t.TempDir()}
}

func (w *world) log(name string) string { return filepath.Join(w.dir, name+".log") }

func (w *world) journalPath() string { return filepath.Join(w.dir, "journal") }

func (w *world) journal(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(w.journalPath())
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(strings.ReplaceAll(strings.TrimSpace(string(b)), " ", "-"))
}

// part describes a fake child that listens on addr.
func (w *world) part(name, addr string, env ...string) Part {
	env = append([]string{"FAKE_ROLE=child", "FAKE_NAME=" + name, "FAKE_ADDR=" + addr, "FAKE_JOURNAL=" + w.journalPath()}, env...)
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return Part{
		Name: name, Kind: KindService, Path: self, Dir: w.dir, Env: func() ([]string, error) { return env, nil },
		Ready: HTTPReady("http://" + addr + "/healthz"), ReadyWithin: 20 * time.Second, Grace: 10 * time.Second, Phase: PhaseService,
	}
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen within 20 s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}
