package publicapi

import (
	"context"
	"errors"
	"net"
	"testing"
)

// Names below .localhost mean this machine, whatever a resolver says; no other name changes.
func TestLoopback(t *testing.T) {
	for address, want := range map[string]string{
		"dishmesh.localhost:8443":     "localhost:8443",
		"Dishmesh.LOCALHOST:8443":     "localhost:8443",
		"localhost:8443":              "localhost:8443",
		"dishmesh.localhost.org:8443": "dishmesh.localhost.org:8443",
		"[::1]:8443":                  "[::1]:8443",
		"no-port.localhost":           "no-port.localhost",
	} {
		var got string
		stop := errors.New("far enough")
		dial := DialLoopback(func(_ context.Context, _, address string) (net.Conn, error) {
			got = address
			return nil, stop
		})
		if _, err := dial(t.Context(), "tcp", address); !errors.Is(err, stop) || got != want {
			t.Errorf("%s: dials %s (%v), want %s", address, got, err, want)
		}
	}
}
