package publicapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// tokenDesk hands out tokens and accepts the latest one only.
type tokenDesk struct {
	mu        sync.Mutex
	n         int
	log       []string
	noRefresh bool
}

func (d *tokenDesk) token() string { return fmt.Sprintf("access-%d", d.n) }

func (d *tokenDesk) revoke() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n++
}

func (d *tokenDesk) calls() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.log...)
}

func (d *tokenDesk) routes(mux *http.ServeMux) {
	give := func(w http.ResponseWriter) {
		d.n++
		_ = json.NewEncoder(w).Encode(userapi.Tokens{
			AccessToken: d.token(), ExpiresIn: 300, RefreshToken: "refresh", User: userapi.User{ID: "usr_1", Role: "kitchen"},
		})
	}
	mux.HandleFunc("POST /v1/tokens", func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.log = append(d.log, "login")
		var in userapi.Credentials
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Password != "secret" {
			problem.Write(w, problem.New(problem.BadCredentials, ""), "", "")
			return
		}
		give(w)
	})
	mux.HandleFunc("POST /v1/tokens/refresh", func(w http.ResponseWriter, _ *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.log = append(d.log, "refresh")
		if d.noRefresh {
			problem.Write(w, problem.New(problem.RefreshReused, ""), "", "")
			return
		}
		give(w)
	})
	mux.HandleFunc("GET /v1/me", func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer "+d.token() {
			d.log = append(d.log, "refused")
			problem.Write(w, problem.New(problem.TokenExpired, ""), "", "")
			return
		}
		d.log = append(d.log, "ok")
		_, _ = io.WriteString(w, `{"id":"usr_1"}`)
	})
}

func serve(t *testing.T, mux *http.ServeMux) string {
	t.Helper()
	s := httptest.NewServer(mux)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.URL
}

func TestTokensAreKeptFresh(t *testing.T) {
	var now atomic.Int64
	clock := publicapi.Clock(func() time.Time { return time.Unix(1e9+now.Load(), 0) })
	var d tokenDesk
	mux := http.NewServeMux()
	d.routes(mux)
	api := publicapi.New(serve(t, mux)+"/", nil, clock, publicapi.LoginsAtMost(make(chan struct{}, 1)))
	ctx := t.Context()
	u, err := api.Login(ctx, "k@example.org", "secret")
	if err != nil || u.ID != "usr_1" {
		t.Fatalf("login: got %+v, %v", u, err)
	}
	me := func() {
		t.Helper()
		var out struct{ ID string }
		if err := api.Do(ctx, http.MethodGet, "/v1/me", nil, &out); err != nil || out.ID != "usr_1" {
			t.Fatalf("me: got %+v, %v", out, err)
		}
	}
	me()
	now.Store(250) // less than a fifth of its life is left
	me()
	d.revoke() // by the other side
	me()
	d.mu.Lock()
	d.noRefresh = true
	d.mu.Unlock()
	d.revoke()
	me()
	want := []string{"login", "ok", "refresh", "ok", "refused", "refresh", "ok", "refused", "refresh", "login", "ok"}
	if diff := cmp.Diff(want, d.calls()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWrongPasswordIsAProblem(t *testing.T) {
	var d tokenDesk
	mux := http.NewServeMux()
	d.routes(mux)
	_, err := publicapi.New(serve(t, mux), nil).Login(t.Context(), "k@example.org", "wrong")
	if problem.Of(err) != problem.BadCredentials {
		t.Errorf("got %v, want %s", err, problem.BadCredentials)
	}
}

func TestDo(t *testing.T) {
	var attempts atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("POST /flaky", func(w http.ResponseWriter, r *http.Request) {
		if attempts.Add(1) < 3 {
			problem.Write(w, problem.New(problem.Unavailable, "later"), "", "")
			return
		}
		w.Header().Set("ETag", `"1"`)
		w.WriteHeader(http.StatusCreated)
		_, _ = io.Copy(w, r.Body)
	})
	mux.HandleFunc("GET /same", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") == `"1"` {
			w.WriteHeader(http.StatusNotModified)
		}
	})
	mux.HandleFunc("POST /never", func(w http.ResponseWriter, _ *http.Request) {
		attempts.Add(1)
		problem.Write(w, problem.New(problem.IllegalState, "no"), "", "")
	})
	api := publicapi.New(serve(t, mux), nil)

	var out struct{ A int }
	var resp publicapi.Response
	err := api.Do(t.Context(), http.MethodPost, "/flaky", map[string]int{"A": 7}, &out,
		publicapi.Retry(3), publicapi.Into(&resp), publicapi.IdempotencyKey("k"))
	if err != nil || out.A != 7 || resp.Status != http.StatusCreated || resp.Header.Get("ETag") != `"1"` {
		t.Errorf("flaky: got %+v, %+v, %v", out, resp, err)
	}
	err = api.Do(t.Context(), http.MethodGet, "/same", nil, &out, publicapi.IfNoneMatch(`"1"`), publicapi.Into(&resp))
	if err != nil || resp.Status != http.StatusNotModified {
		t.Errorf("same: got %+v, %v; want 304", resp, err)
	}
	attempts.Store(0)
	err = api.Do(t.Context(), http.MethodPost, "/never", nil, nil, publicapi.Retry(3))
	if problem.Of(err) != problem.IllegalState || attempts.Load() != 1 {
		t.Errorf("never: got %v after %d attempts, want a refusal after one", err, attempts.Load())
	}
	gone := publicapi.New("http://127.0.0.1:1", nil)
	if err := gone.Do(t.Context(), http.MethodGet, "/", nil, nil); problem.Of(err) != problem.Unavailable {
		t.Errorf("nobody there: got %v, want %s", err, problem.Unavailable)
	}
}

func TestLiveResumesAfterTheLastEvent(t *testing.T) {
	var mu sync.Mutex
	var resumed []string
	mux := http.NewServeMux()
	mux.HandleFunc("GET /live", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		resumed = append(resumed, r.Header.Get("Last-Event-ID"))
		n := len(resumed)
		mu.Unlock()
		w.Header().Set("Content-Type", "text/event-stream")
		if n == 2 {
			problem.Write(w, problem.New(problem.Unavailable, ""), "", "")
			return
		}
		// The first stream breaks off in the middle of its second event.
		_, _ = fmt.Fprintf(w, ": hello\n\nevent: order.placed\nid: %d\ndata: {\"type\":\"fooddelivery.order.placed\",\"id\":\"order/ord_1/%d\",\ndata: \"subject\":\"ord_1\",\"sequence\":\"%d\",\"data\":{\"x\":1}}\n\nevent: torn\ndata: {", n, n, n)
	})
	api := publicapi.New(serve(t, mux), nil)
	var connects int
	var got []publicapi.Event
	err := api.Live(t.Context(), "/live", "0", func(e publicapi.Event) error {
		if got = append(got, e); len(got) == 2 {
			return publicapi.ErrStop
		}
		return nil
	}, publicapi.OnConnect(func() { connects++ }))
	if err != nil || connects != 2 {
		t.Errorf("got %v after %d connects, want 2", err, connects)
	}
	want := []publicapi.Event{
		{Type: "order.placed", ID: "order/ord_1/1", LastID: "1", Subject: "ord_1", Sequence: 1, Data: json.RawMessage(`{"x":1}`)},
		{Type: "order.placed", ID: "order/ord_1/3", LastID: "3", Subject: "ord_1", Sequence: 3, Data: json.RawMessage(`{"x":1}`)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events -want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"0", "1", "1"}, resumed); diff != "" {
		t.Errorf("Last-Event-ID -want +got:\n%s", diff)
	}
}

func TestLiveEnds(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /forbidden", func(w http.ResponseWriter, _ *http.Request) {
		problem.Write(w, problem.New(problem.Forbidden, ""), "", "")
	})
	var opened atomic.Int64
	mux.HandleFunc("GET /silent", func(w http.ResponseWriter, r *http.Request) {
		opened.Add(1)
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	api := publicapi.New(serve(t, mux), nil)
	nothing := func(publicapi.Event) error { return nil }
	if err := api.Live(t.Context(), "/forbidden", "", nothing); problem.Of(err) != problem.Forbidden {
		t.Errorf("forbidden: got %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := api.Live(ctx, "/silent", "", nothing, publicapi.SilenceAtMost(20*time.Millisecond), publicapi.OnConnect(func() {
		if opened.Load() == 2 { // a silent stream was given up and opened again
			cancel()
		}
	}))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("silent: got %v, want it to be opened twice", err)
	}
}
