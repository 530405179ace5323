package platform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Status is what the control socket and `dishmesh status --json` answer. The keys are stable.
type Status struct {
	Ready   bool   `json:"ready"`
	Healthy bool   `json:"healthy"`
	PID     int    `json:"pid"`
	Version string `json:"version"`
	Profile string `json:"profile"`
	Data    string `json:"data"`

	UptimeSeconds float64 `json:"uptime_seconds"`
	GatewayURL    string  `json:"gateway_url"`
	CityURL       string  `json:"city_url,omitempty"`
	// RSSBytes is the resident memory of all processes with the supervisor; pages that several share count in each.
	RSSBytes  int64     `json:"rss_bytes"`
	Processes []Process `json:"processes"`
}

func (r *running) status(ctx context.Context) Status {
	info := r.snapshot()
	s := Status{Ready: info.Ready, PID: info.PID, Version: info.Version, Profile: info.Profile, Data: info.Data,
		UptimeSeconds: time.Since(r.started).Round(time.Millisecond).Seconds(), GatewayURL: info.GatewayURL, CityURL: info.CityURL,
		Processes: r.sup.Processes(ctx), Healthy: info.Ready}
	s.RSSBytes = residentBytes([]int{info.PID})[info.PID]
	for _, p := range s.Processes {
		s.Healthy = s.Healthy && p.Healthy
		s.RSSBytes += p.RSSBytes
	}
	return s
}

// controlServer answers on the control socket, which only its owner can open.
type controlServer struct {
	server *http.Server
	path   string
}

func serveControl(r *running) (*controlServer, error) {
	path := r.layout.ControlSocket()
	// The data lock is held, so whoever made this socket is gone.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(r.status(req.Context()))
	})
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		r.stop()
	})
	for path, do := range map[string]func(name string) error{
		"restart": func(name string) error { return r.sup.Restart(name, false) },
		"kill":    func(name string) error { return r.sup.Restart(name, true) },
		"release": r.sup.Release,
		"freeze":  r.sup.Freeze,
	} {
		mux.HandleFunc("POST /"+path, func(w http.ResponseWriter, req *http.Request) {
			answer(w, do(req.URL.Query().Get("name")))
		})
	}
	mux.HandleFunc("POST /hold", func(w http.ResponseWriter, req *http.Request) {
		answer(w, r.sup.Hold(req.URL.Query().Get("name"), req.URL.Query().Get("kill") != ""))
	})
	c := &controlServer{server: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}, path: path}
	go func() { _ = c.server.Serve(ln) }()
	return c, nil
}

// answer says that a command was taken, or that it names no process.
func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

func (c *controlServer) close() {
	_ = c.server.Close()
	_ = os.Remove(c.path)
}

// ErrNotRunning says that no platform runs on a data folder.
var ErrNotRunning = errors.New("no platform runs on this data folder: start one with `dishmesh up`")

// Client talks to the supervisor of a data folder.
type Client struct{ http *http.Client }

// Connect returns a client for the data folder.
func Connect(data string) *Client {
	socket := Layout{Data: data}.ControlSocket()
	return &Client{http: &http.Client{
		Timeout: 15 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		}},
	}}
}

// Status asks for the state of everything; ErrNotRunning when nobody answers.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.do(ctx, http.MethodGet, "/status", &s)
	return s, err
}

// Stop asks the supervisor to stop everything. It returns before that is done.
func (c *Client) Stop(ctx context.Context) error { return c.do(ctx, http.MethodPost, "/stop", nil) }

// Restart ends one process in order; the supervisor starts it again at once.
func (c *Client) Restart(ctx context.Context, name string) error { return c.part(ctx, "restart", name) }

// Kill ends one process with SIGKILL; the supervisor starts it again after its back-off.
func (c *Client) Kill(ctx context.Context, name string) error { return c.part(ctx, "kill", name) }

// Hold ends one process, with SIGKILL when kill is set, and keeps it down until Release.
func (c *Client) Hold(ctx context.Context, name string, kill bool) error {
	query := url.Values{"name": {name}}
	if kill {
		query.Set("kill", "1")
	}
	return c.do(ctx, http.MethodPost, "/hold?"+query.Encode(), nil)
}

// Release starts a process that is held.
func (c *Client) Release(ctx context.Context, name string) error { return c.part(ctx, "release", name) }

// Freeze stops one process with SIGSTOP; the supervisor finds out that it hangs, and starts it again.
func (c *Client) Freeze(ctx context.Context, name string) error { return c.part(ctx, "freeze", name) }

func (c *Client) part(ctx context.Context, action, name string) error {
	return c.do(ctx, http.MethodPost, "/"+action+"?name="+url.QueryEscape(name), nil)
}

func (c *Client) do(ctx context.Context, method, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://supervisor"+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			return ErrNotRunning
		}
		return fmt.Errorf("ask the supervisor: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode > 299 {
		msg, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return errors.New(strings.TrimSpace(string(msg)))
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(into)
}
