package platform

import (
	"os"
	"strings"
	"testing"

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
