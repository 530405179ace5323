package platform

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/profile"
)

func layout(t *testing.T) Layout {
	t.Helper()
	l, err := OpenLayout(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestDataFolderHasOneHolder(t *testing.T) {
	l := layout(t)
	if pid, held := Holder(l); held {
		t.Fatalf("a fresh folder is held by %d", pid)
	}
	lock, err := lockData(l)
	if err != nil {
		t.Fatal(err)
	}
	_, err = lockData(l)
	var held *HeldError
	if !errors.As(err, &held) {
		t.Fatalf("second lock: got %v, want a HeldError", err)
	}
	if held.PID != os.Getpid() || !strings.Contains(held.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("got %v, want the pid %d of the holder in it", held, os.Getpid())
	}
	lock.Close()
	if _, stillHeld := Holder(l); stillHeld {
		t.Error("the lock outlives its holder")
	}
}

func TestDataFolderThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLayout(filepath.Join(file, "data")); err == nil || !strings.Contains(err.Error(), "--data") {
		t.Errorf("got %v, want an error that names --data", err)
	}
}

func TestControlSocketFitsASocketAddress(t *testing.T) {
	short := Layout{Data: "/data"}
	if got, want := short.ControlSocket(), "/data/run/control.sock"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	long := Layout{Data: "/" + strings.Repeat("deep/", 40)}
	if got := long.ControlSocket(); len(got) > 100 || got == (Layout{Data: long.Data + "x"}).ControlSocket() {
		t.Errorf("got %q: too long, or the same for two folders", got)
	}
}

func TestPorts(t *testing.T) {
	l := layout(t)
	book := openPorts(l)
	first, err := book.pick("broker")
	if err != nil {
		t.Fatal(err)
	}
	if err := book.save(); err != nil {
		t.Fatal(err)
	}
	if again, err := openPorts(l).pick("broker"); err != nil || again != first {
		t.Errorf("port of the next run: got %d, %v, want %d again", again, err, first)
	}
	ln, err := net.Listen("tcp", local(first))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if other, err := openPorts(l).pick("broker"); err != nil || other == first {
		t.Errorf("port while the old one is busy: got %d, %v, want another one", other, err)
	}
	_, err = openPorts(l).want("--port", first)
	var busy *PortBusyError
	if !errors.As(err, &busy) || !strings.Contains(err.Error(), "--port") || !strings.Contains(err.Error(), strconv.Itoa(first)) {
		t.Errorf("busy port that was asked for: got %v, want an error that names flag and port", err)
	}
}

func embedded(t *testing.T) *profile.Profile {
	t.Helper()
	home, err := FindHome()
	if err != nil {
		t.Fatal(err)
	}
	p, err := profile.Load(home.Components(), profile.Default)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestChoosePortsTellsOfABusyDefault(t *testing.T) {
	// Whether 8080 is free on this machine or not, the gateway gets a port that is, and a note when it isn't 8080.
	wasFree := portFree(DefaultGatewayPort)
	p := &plan{cfg: Config{Apps: []string{"gateway"}}, profile: embedded(t)}
	notes, err := p.choosePorts(openPorts(layout(t)))
	if err != nil {
		t.Fatal(err)
	}
	if got := p.ports["public"] == DefaultGatewayPort; got != wasFree {
		t.Errorf("default port taken: %t, want %t", got, wasFree)
	}
	told := strings.Contains(strings.Join(notes, "\n"), "port 8080 is busy: the gateway listens on "+p.port("public"))
	if told == wasFree {
		t.Errorf("notes %q, with the default free: %t", notes, wasFree)
	}
	if !portFree(p.ports["public"]) {
		t.Errorf("port %d is busy", p.ports["public"])
	}
}

func TestAccountsAndSecretsAreMadeOnce(t *testing.T) {
	l := layout(t)
	if err := ensureAccounts(l); err != nil {
		t.Fatal(err)
	}
	var accounts, again []Account
	if err := readJSON(l.Accounts(), &accounts); err != nil {
		t.Fatal(err)
	}
	roles := map[string]int{}
	passwords := map[string]bool{}
	for _, a := range accounts {
		roles[a.Role]++
		passwords[a.Password] = true
		if len(a.Password) < 10 {
			t.Errorf("%s has a password of %d characters", a.Email, len(a.Password))
		}
		if (a.Role == "kitchen") != (a.RestaurantID != "") {
			t.Errorf("%s, a %s, has the restaurant %q", a.Email, a.Role, a.RestaurantID)
		}
	}
	if diff := cmp.Diff(map[string]int{"operator": 1, "kitchen": 12, "courier": 24}, roles); diff != "" {
		t.Errorf("accounts by role (-want +got):\n%s", diff)
	}
	if len(passwords) != len(accounts) {
		t.Error("two accounts share a password")
	}
	for _, path := range []string{l.Accounts()} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", path, info.Mode())
		}
	}
	if err := ensureAccounts(l); err != nil {
		t.Fatal(err)
	}
	if err := readJSON(l.Accounts(), &again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(accounts, again); diff != "" {
		t.Errorf("the second start changed the accounts:\n%s", diff)
	}

	one, err := ensureSecrets(l)
	if err != nil {
		t.Fatal(err)
	}
	two, err := ensureSecrets(l)
	if err != nil || one != two || one.AcquirerAPIKey == "" {
		t.Errorf("secrets: got %v and then %v, %v", one, two, err)
	}
	if err := os.WriteFile(l.Secrets(), []byte("{half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ensureSecrets(l); err == nil || !strings.Contains(err.Error(), "mend it or remove it") {
		t.Errorf("broken secrets: got %v, want an error that says what to do", err)
	}
}

func TestParseSet(t *testing.T) {
	got, err := ParseSet([]string{"order.TICKET_DEADLINE=5s", "order.URL=http://a/?x=1.2", "city.SEED=7"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"order": {"TICKET_DEADLINE=5s", "URL=http://a/?x=1.2"}, "city": {"SEED=7"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, bad := range []string{"", "order", "order.KEY", "KEY=value", ".KEY=value", "order.=value"} {
		if _, err := ParseSet([]string{bad}); err == nil {
			t.Errorf("ParseSet(%q): got no error", bad)
		}
	}
}

func TestConfigCheck(t *testing.T) {
	home, err := FindHome()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"good":            {Config{Home: home, Profile: "embedded"}, ""},
		"unknown profile": {Config{Home: home, Profile: "moon"}, "embedded"},
		"unknown process": {Config{Home: home, Profile: "embedded", Set: map[string][]string{"ordr": {"A=b"}}}, "order-daprd"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.cfg.check()
			switch {
			case c.want == "" && err != nil:
				t.Errorf("got %v, want no error", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

// TestSecretsStayOutOfArguments holds that nobody can read a token from the process list.
func TestSecretsStayOutOfArguments(t *testing.T) {
	l := layout(t)
	home, err := FindHome()
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Home: home, Profile: "embedded", CityArgs: []string{}, Self: "dishmesh"}
	if err := cfg.check(); err != nil {
		t.Fatal(err)
	}
	p := &plan{cfg: cfg, layout: l, profile: cfg.profile}
	if p.secrets, err = ensureSecrets(l); err != nil {
		t.Fatal(err)
	}
	if p.tokens, err = newTokens(l, cfg.Apps); err != nil {
		t.Fatal(err)
	}
	if _, err := p.choosePorts(openPorts(l)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.caFile(), []byte("certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	secrets := []string{p.secrets.AcquirerAPIKey, p.secrets.ServerPassword}
	for _, tok := range p.tokens {
		secrets = append(secrets, tok.DaprAPI, tok.AppAPI)
	}
	parts, err := p.parts()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(parts), 4+2*len(Apps())+1; got != want {
		t.Errorf("%d processes, want %d", got, want)
	}
	for _, part := range parts {
		for _, s := range secrets {
			if strings.Contains(strings.Join(part.Args, " "), s) {
				t.Errorf("the arguments of %s hold a secret", part.Name)
			}
		}
		if part.Grace <= 0 || part.ReadyWithin <= 0 || part.Ready == nil {
			t.Errorf("%s lacks a time limit or a readiness check", part.Name)
		}
	}
	// The parts of one phase stop together, so the whole end takes at most the sum of the longest graces.
	longest := map[Phase]time.Duration{}
	for _, part := range parts {
		longest[part.Phase] = max(longest[part.Phase], part.Grace)
	}
	var sum time.Duration
	for _, d := range longest {
		sum += d
	}
	if sum >= 10*time.Second {
		t.Errorf("stopping can take %s, want less than 10 s", sum)
	}
	if _, err := NewSupervisor(SupervisorConfig{Parts: parts, LogPath: l.Log}); err != nil {
		t.Error(err)
	}
}

func TestTailLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var all strings.Builder
	for i := range 5000 {
		all.WriteString("line " + strconv.Itoa(i) + " " + strings.Repeat("x", 30) + "\n")
	}
	if err := os.WriteFile(path, []byte(all.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := TailLines(path, 3000)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3000 || !strings.HasPrefix(got[0], "line 2000 ") || !strings.HasPrefix(got[2999], "line 4999 ") {
		t.Errorf("got %d lines from %q to %q", len(got), got[0], got[len(got)-1])
	}
}

func TestRotateLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := openLog(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("old"); err != nil {
		t.Fatal(err)
	}
	if err := rotateLog(path, 3); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("new"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{path: "new", path + ".1": "old"} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
}
