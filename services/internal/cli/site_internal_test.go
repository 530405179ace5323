package cli

import (
	"path/filepath"
	"testing"
)

// Orders of a cluster are written down apart from those of the platform on this machine, which knows nothing of them.
func TestClients(t *testing.T) {
	for url, want := range map[string]string{
		"":                                "d",
		"http://127.0.0.1:8080":           "d",
		"https://dishmesh.localhost:8443": filepath.Join("d", "cluster"),
		"https://dishmesh.example.com":    "d",
		"://":                             "d",
	} {
		if got := (&siteFlags{url: url}).clients("d"); got != want {
			t.Errorf("%q: %s, want %s", url, got, want)
		}
	}
}
