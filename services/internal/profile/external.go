package profile

import (
	"context"
	"net"
	"net/url"
	"os"
	"strings"
	"time"
)

// External is a server that the platform does not start: the caller's environment says where it is.
type External struct {
	ID, Label string
	// Variables are passed on from the caller's environment; the first one holds the address.
	Variables []string
	// Get says how to get the server.
	Get string
}

// Name implements Server.
func (e External) Name() string { return e.ID }

// Title implements Server.
func (e External) Title() string { return e.Label }

// Vars implements Server.
func (e External) Vars() []string { return e.Variables }

// Probe implements Server: the variable must be set and somebody must listen at the address in it.
func (e External) Probe(ctx context.Context) Found {
	value := os.Getenv(e.Variables[0])
	if value == "" {
		return Found{Mend: e.Get}
	}
	addr := value
	if u, err := url.Parse(value); err == nil && u.Host != "" {
		addr = u.Host
	}
	addr, _, _ = strings.Cut(addr, ",")
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return Found{Mend: e.Variables[0] + " names " + addr + ", where nobody answers: start it, or correct the variable"}
	}
	conn.Close()
	return Found{Here: true, Where: addr}
}

// Ports implements Server.
func (External) Ports() []string { return nil }

// Env implements Server.
func (e External) Env(Site) []string {
	var out []string
	for _, v := range e.Variables {
		out = append(out, v+"="+os.Getenv(v))
	}
	return out
}

// Processes implements Server.
func (External) Processes(Site) []Process { return nil }
