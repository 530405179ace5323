package platform

import (
	"context"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/profile"
)

func TestADataFolderKeepsItsProfile(t *testing.T) {
	l := layout(t)
	if err := keepProfile(l, "kafka"); err != nil {
		t.Fatal(err)
	}
	if err := keepProfile(l, "kafka"); err != nil {
		t.Errorf("the same profile again: %v", err)
	}
	err := keepProfile(l, "redis")
	if err == nil || !strings.Contains(err.Error(), "made with the profile kafka") || !strings.Contains(err.Error(), "--data") {
		t.Errorf("another profile: got %v, want a refusal that names the old one and the mend", err)
	}
	old := layout(t)
	if err := os.WriteFile(old.Accounts(), []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := ProfileOf(old); err != nil || got != profile.Default {
		t.Errorf("a folder from before there were profiles: got %q, %v, want %s", got, err, profile.Default)
	}
}

func TestHeldPartStaysDownUntilReleased(t *testing.T) {
	w := newWorld(t)
	port, err := openPorts(layout(t)).pick("only")
	if err != nil {
		t.Fatal(err)
	}
	addr := "127.0.0.1:" + strconv.Itoa(port)
	s, err := NewSupervisor(SupervisorConfig{Parts: []Part{w.part("only", addr)}, LogPath: w.log})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	if err := s.Hold("only", true); err != nil {
		t.Fatal(err)
	}
	state := func() State { return s.Processes(t.Context())[0].State }
	eventually(t, "the part to be held", func() bool { return state() == StateHeld })
	if err := s.Release("only"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.WaitReady(ctx, "only"); err != nil {
		t.Error(err)
	}
}

func TestStartServersSaysWhatIsMissing(t *testing.T) {
	home, err := FindHome()
	if err != nil {
		t.Fatal(err)
	}
	missing := embedded(t)
	missing.Servers = []string{"mongodb"}
	t.Setenv("MONGODB_HOST", "")
	_, err = StartServers(t.Context(), ServersConfig{Home: home, Self: os.Args[0], Data: t.TempDir(), Profile: missing})
	if err == nil || !strings.Contains(err.Error(), "MongoDB is not here") {
		t.Errorf("got %v, want a line that says what is missing", err)
	}
}
