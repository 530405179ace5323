package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gorilla/mux"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/rpc"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
)

// menus answers every lookup with a restaurant of the asked id, or with err.
type menus struct{ err error }

// Routes implements run.Service.
func (m *menus) Routes(r *mux.Router) {
	path, handler := menuapi.NewMenuServiceHandler(m, rpc.HandlerOptions())
	r.PathPrefix(path).Handler(handler)
}

func (m *menus) LookupMenu(_ context.Context, r *connect.Request[menuapi.LookupMenuRequest]) (*connect.Response[menuapi.LookupMenuResponse], error) {
	if m.err != nil {
		return nil, m.err
	}
	return connect.NewResponse(menuapi.NewLookupMenuResponse(menuapi.Menu{Restaurant: menuapi.Restaurant{ID: r.Msg.GetRestaurantId()}, Currency: "EUR",
		Items: []menuapi.Item{{ID: "itm_1", Price: 950, OptionGroups: []menuapi.OptionGroup{{ID: "size", Max: 1, Options: []menuapi.Option{{ID: "large", Price: 300}}}}}}})), nil
}

// clients gives a way of calling m for each protocol, all on the mux of a service, over HTTP/1.1 and HTTP/2.
func clients(t *testing.T, m *menus) map[string]func(context.Context, string) (menuapi.Menu, error) {
	t.Helper()
	deps, _ := runtest.New(t, "menu")
	r := runtest.Router(deps, m)
	server := httptest.NewUnstartedServer(r)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	var http2 http.Protocols
	http2.SetUnencryptedHTTP2(true)
	h2c := &http.Client{Transport: &http.Transport{Protocols: &http2}}

	ways := map[string]func(context.Context, string) (menuapi.Menu, error){
		"through the sidecar": func(ctx context.Context, id string) (menuapi.Menu, error) {
			return menuapi.NewClient(sidecartest.Mesh{menuapi.App: r}).Lookup(ctx, id)
		},
	}
	for name, way := range map[string]struct {
		http *http.Client
		opts []connect.ClientOption
	}{
		"Connect":          {server.Client(), nil},
		"Connect, JSON":    {server.Client(), []connect.ClientOption{connect.WithProtoJSON()}},
		"Connect, HTTP/2":  {h2c, nil},
		"gRPC":             {h2c, []connect.ClientOption{connect.WithGRPC()}},
		"gRPC, compressed": {h2c, []connect.ClientOption{connect.WithGRPC(), connect.WithSendGzip()}},
		"gRPC-Web":         {server.Client(), []connect.ClientOption{connect.WithGRPCWeb()}},
	} {
		client := menuapi.NewMenuServiceClient(way.http, server.URL, way.opts...)
		ways[name] = func(ctx context.Context, id string) (menuapi.Menu, error) {
			resp, err := client.LookupMenu(ctx, connect.NewRequest(&menuapi.LookupMenuRequest{RestaurantId: id}))
			if err != nil {
				return menuapi.Menu{}, rpc.Problem(err)
			}
			return resp.Msg.Menu(), nil
		}
	}
	return ways
}

func TestEveryProtocol(t *testing.T) {
	for name, call := range clients(t, &menus{}) {
		got, err := call(t.Context(), "rst_7")
		if err != nil || got.Restaurant.ID != "rst_7" || len(got.Items) != 1 || got.Items[0].OptionGroups[0].Options[0].Price != 300 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// A problem is the same error on the other side, whichever way it went.
func TestProblems(t *testing.T) {
	for _, typ := range problem.Types() {
		want := problem.New(typ, "what happened").WithFields(problem.Field{Name: "a.b", Reason: "is required"}).After(2 * time.Second)
		for name, call := range clients(t, &menus{err: fmt.Errorf("lookup: %w", want)}) {
			_, err := call(t.Context(), "rst_7")
			var got *problem.Error
			if !errors.As(err, &got) {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(problem.Error{})); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", typ, name, diff)
			}
		}
	}
}

// An error that is no problem says nothing.
func TestSecrets(t *testing.T) {
	for name, call := range clients(t, &menus{err: errors.New("password=hunter2")}) {
		if _, err := call(t.Context(), "rst_7"); problem.Of(err) != problem.Internal || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, call := range clients(t, &menus{err: fmt.Errorf("store: %w", context.DeadlineExceeded)}) {
		if _, err := call(t.Context(), "rst_7"); problem.Of(err) != problem.Timeout {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A problem of the way there, such as an open breaker, comes back as it is.
func TestDoorClosed(t *testing.T) {
	_, err := menuapi.NewClient(sidecartest.Mesh{}).Lookup(t.Context(), "rst_7")
	if problem.Of(err) != problem.Unavailable {
		t.Errorf("got %v", err)
	}
}

// Anybody can call with nothing but a POST of JSON.
func TestPlainJSON(t *testing.T) {
	deps, _ := runtest.New(t, "menu")
	r := runtest.Router(deps, &menus{})
	var out struct {
		Restaurant struct{ ID string }
	}
	err := sidecartest.Mesh{"menu": r}.Invoke(t.Context(), sidecar.Call{App: "menu", Method: "POST", Path: menuapi.MenuServiceLookupMenuProcedure,
		In: map[string]string{"restaurant_id": "rst_7"}, Out: &out})
	if err != nil || out.Restaurant.ID != "rst_7" {
		t.Errorf("got %+v, %v", out, err)
	}
	w := httptest.NewRecorder()
	req := httptest.NewRequest("POST", menuapi.MenuServiceLookupMenuProcedure, io.LimitReader(zeros{}, 1<<20))
	req.Header.Set("Content-Type", "application/proto")
	r.ServeHTTP(w, req)
	if w.Code/100 != 4 {
		t.Errorf("a body of 1 MiB: status %d", w.Code)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
