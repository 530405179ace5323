package probe

import (
	"encoding/json"
	"net/http"
	"strings"
)

// Echo is what an echo server tells of a request.
type Echo struct {
	Name   string            `json:"name"` // of the server
	Method string            `json:"method"`
	Path   string            `json:"path"`
	Header map[string]string `json:"header"` // values joined by commas
	Remote string            `json:"remote"`
}

// NewEcho is a server that does nothing else: what a call to it costs is the way there. Headers that a proxy has put
// in, such as the caller's identity, are in the answer.
func NewEcho(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := Echo{Name: name, Method: r.Method, Path: r.URL.Path, Remote: r.RemoteAddr, Header: map[string]string{}}
		for key, values := range r.Header {
			e.Header[key] = strings.Join(values, ", ")
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(e) // who asked has gone
	})
}
