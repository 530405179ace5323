package delivery_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/delivery"
	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/geo"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// config has the defaults, with short times.
func config(t testing.TB) delivery.Config {
	t.Helper()
	var cfg delivery.Config
	if err := run.Load(&cfg, func(string) (string, bool) { return "", false }); err != nil {
		t.Fatal(err)
	}
	cfg.OfferTTL = 5 * time.Second
	cfg.MissedPause = 50 * time.Millisecond
	return cfg
}

type world struct {
	t      testing.TB
	deps   *run.Deps
	fakes  *runtest.Fakes
	http   http.Handler
	client deliveryapi.Client
	stop   func()
}

// start runs the service, on the store of an earlier world if there is one.
func start(t testing.TB, cfg delivery.Config, earlier *sidecartest.Store) *world {
	t.Helper()
	return startAs(t, "test", cfg, earlier)
}

// startReplica runs the service beside another one on the same store.
func startReplica(t testing.TB, cfg delivery.Config, store *sidecartest.Store) *world {
	t.Helper()
	return startAs(t, "test-2", cfg, store)
}

func startAs(t testing.TB, instance string, cfg delivery.Config, earlier *sidecartest.Store) *world {
	t.Helper()
	deps, fakes := runtest.New(t, "delivery")
	if earlier != nil {
		deps.Instance = instance
		deps.State, fakes.Store = earlier, earlier
		deps.Outbox = newOutbox(deps)
	}
	s, err := delivery.New(deps, cfg)
	if err != nil {
		t.Fatal(err)
	}
	runtest.Start(t, deps)
	w := &world{t: t, deps: deps, fakes: fakes, http: runtest.Router(deps, s)}
	w.client = deliveryapi.Client{Invoker: sidecartest.Mesh{"delivery": w.http}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.(run.Runner).Run(ctx) }()
	w.stop = func() {
		cancel()
		if err, ok := <-ended; ok && err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(func() { cancel() })
	runtest.Eventually(t, "the service is ready", func() bool { return s.(run.Readier).Ready() == nil })
	return w
}

// do sends a request as who and decodes the answer into out, or gives the problem.
func (w *world) do(who web.Identity, method, path string, in, out any) error {
	return runtest.Do(w.http, who, method, path, in, out)
}

func courier(n int) web.Identity {
	return web.Identity{Subject: fmt.Sprintf("usr_courier%02d", n), Role: web.RoleCourier}
}

var centre = geo.Point{Lat: 52.52, Lon: 13.40}

// at is a place some metres north of the centre.
func at(metres float64) geo.Point {
	return geo.Point{Lat: centre.Lat + metres/111_195, Lon: centre.Lon}
}

func (w *world) online(n int, where geo.Point) {
	w.t.Helper()
	in := map[string]any{"online": true, "lat": where.Lat, "lon": where.Lon}
	if err := w.do(courier(n), "PUT", "/v1/couriers/me", in, nil); err != nil {
		w.t.Fatal(err)
	}
}

func request() deliveryapi.DispatchRequest {
	return deliveryapi.DispatchRequest{RestaurantID: "rst_1", CustomerID: "usr_customer",
		Pickup: deliveryapi.Place{Point: centre}, Dropoff: deliveryapi.Place{Point: at(2000)}}
}

func (w *world) dispatch(order string) deliveryapi.DispatchResult {
	w.t.Helper()
	got, err := w.client.Dispatch(w.t.Context(), order, request())
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

func (w *world) courierDoes(n int, what, order string) error {
	return w.do(courier(n), "POST", "/v1/deliveries/"+order+"/"+what, nil, nil)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) view(n int) deliveryapi.CourierView {
	w.t.Helper()
	var v deliveryapi.CourierView
	w.must(w.do(courier(n), "GET", "/v1/couriers/me", nil, &v))
	return v
}

func (w *world) get(order string) deliveryapi.Tracking {
	w.t.Helper()
	got, err := w.client.Get(w.t.Context(), order)
	w.must(err)
	return got
}

// offered says whether courier n has an open offer of order.
func (w *world) offered(n int, order string) bool {
	w.t.Helper()
	for _, o := range w.view(n).Offers {
		if o.OrderID == order {
			return true
		}
	}
	return false
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	runtest.Eventually(w.t, what, ok)
}

// types lists the types of the events of an order as they were published, without "delivery.".
func (w *world) types(order string) []string {
	var got []string
	for _, p := range w.fakes.Publisher.Sent() {
		if p.Event.Subject == order && p.Topic == cloudevent.Topic("delivery") {
			got = append(got, strings.TrimPrefix(p.Event.Name(), "delivery."))
		}
	}
	return got
}

func wantProblem(t testing.TB, err error, want problem.Type) {
	t.Helper()
	if got := problem.Of(err); err == nil || got != want {
		t.Errorf("got %v (%v), want %s", got, err, want)
	}
}

// unstarted is a service that has not read the store yet.
func unstarted(t testing.TB) (*run.Deps, http.Handler) {
	t.Helper()
	deps, _ := runtest.New(t, "delivery")
	s, err := delivery.New(deps, config(t))
	if err != nil {
		t.Fatal(err)
	}
	runtest.Start(t, deps)
	return deps, runtest.Router(deps, s)
}
