package load_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/customer"
	"github.com/dishmesh/dishmesh/services/internal/customer/customertest"
	"github.com/dishmesh/dishmesh/services/internal/load"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

var update = flag.Bool("update", false, "write the golden files")

func config(t *testing.T, g *customertest.Gateway) load.Config {
	t.Helper()
	site := customer.Site{URL: g.URL, Patience: 10 * time.Second}
	customers, err := site.Enter(t.Context(), filepath.Join(t.TempDir(), "customers.json"), 3, nil)
	if err != nil {
		t.Fatal(err)
	}
	town, err := site.Explore(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return load.Config{Orders: 40, Concurrency: 8, Seed: 1, Timeout: 10 * time.Second, Customers: customers, Town: town}
}

func run(t *testing.T, cfg load.Config) load.Report {
	t.Helper()
	r, err := load.New(cfg).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestClosedLoop(t *testing.T) {
	g := customertest.New(t)
	cfg := config(t, g)
	data := t.TempDir()
	var err error
	if cfg.Journal, err = customer.OpenJournal(data); err != nil {
		t.Fatal(err)
	}
	r := run(t, cfg)
	if err := cfg.Journal.Close(); err != nil {
		t.Fatal(err)
	}
	if r.Placed != 40 || r.Ended != 40 || r.Stuck != 0 || r.Refused != 0 || !r.OK() {
		t.Errorf("got %+v, want 40 placed and ended", r)
	}
	if diff := cmp.Diff(map[orderapi.Status]int{orderapi.Delivered: 40}, r.Outcomes); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	for name, l := range map[string]load.Latency{"quote": r.Quote, "accept": r.Accept, "accepted": r.Accepted, "delivered": r.Delivered} {
		if l.Count != 40 || l.P50 <= 0 || l.P50 > l.P99 || l.P99 > l.Max {
			t.Errorf("latency of %s: got %+v, want 40 in order", name, l)
		}
	}
	// The steps of the fake are a tenth of a second apart; a histogram has three significant digits.
	if got := r.Steps[customer.StepPaymentCaptured].P50; got < 400 || got > 401 {
		t.Errorf("payment captured: got %g ms, want 400", got)
	}
	raw, err := os.ReadFile(filepath.Join(customer.Folder(data), customer.JournalFile))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := bytes.Count(raw, []byte("\n")), 40; got != want {
		t.Errorf("lines of the journal: got %d, want %d", got, want)
	}
}

func TestLostAnswersMakeNoSecondOrder(t *testing.T) {
	g := customertest.New(t)
	cfg := config(t, g)
	g.LosePlaces = 10
	r := run(t, cfg)
	if got, want := g.Orders(), 40; got != want {
		t.Errorf("orders at the platform: got %d, want %d", got, want)
	}
	if r.Retries != 10 || r.Errors[string(problem.Unavailable)] != 10 || !r.OK() {
		t.Errorf("got %d retries, errors %v, want 10 of unavailable", r.Retries, r.Errors)
	}
}

func TestOpenLoop(t *testing.T) {
	cfg := config(t, customertest.New(t))
	cfg.Orders, cfg.Rate = 20, 100
	start := time.Now()
	r := run(t, cfg)
	if took, least := time.Since(start), 190*time.Millisecond; took < least {
		t.Errorf("20 orders at 100 per s took %v, want at least %v", took, least)
	}
	if !r.OK() {
		t.Errorf("got %+v, want all ended", r)
	}
}

func TestEnough(t *testing.T) {
	cfg := config(t, customertest.New(t))
	cfg.Orders = 1 << 30
	enough := make(chan struct{})
	cfg.Enough = enough
	l := load.New(cfg)
	go func() {
		defer close(enough)
		for l.Snapshot().Ended < 20 && t.Context().Err() == nil {
			runtime.Gosched()
		}
	}()
	r, err := l.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Interrupted || r.Orders < 20 || r.Orders > 20+10*cfg.Concurrency || !r.OK() {
		t.Errorf("got %+v, want some more than 20 orders, all ended", r)
	}
}

func TestStuck(t *testing.T) {
	g := customertest.New(t)
	g.Hang = true
	cfg := config(t, g)
	cfg.Orders, cfg.Concurrency, cfg.Timeout = 3, 3, 200*time.Millisecond
	r := run(t, cfg)
	if r.Stuck != 3 || len(r.StuckOrders) != 3 || r.Ended != 0 || r.OK() {
		t.Errorf("got %+v, want 3 stuck", r)
	}
}

func TestInterrupted(t *testing.T) {
	g := customertest.New(t)
	g.Hang = true
	cfg := config(t, g)
	l := load.New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		poll := time.NewTicker(5 * time.Millisecond)
		defer poll.Stop()
		for deadline := time.Now().Add(10 * time.Second); l.Snapshot().Placed < 8 && time.Now().Before(deadline); {
			<-poll.C
		}
	}()
	r, err := l.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Interrupted || r.Placed != 8 || r.Ended != 0 || r.Stuck != 0 || r.Refused != 0 {
		t.Errorf("got %+v, want 8 placed and interrupted", r)
	}
}

func TestMixed(t *testing.T) {
	cfg := config(t, customertest.New(t))
	cfg.Orders, cfg.Mixed = 130, true // two of each kind
	r := run(t, cfg)
	want := map[orderapi.Status]int{orderapi.Delivered: 122, orderapi.Declined: 4, orderapi.Rejected: 2, orderapi.Undeliverable: 2}
	if diff := cmp.Diff(want, r.Outcomes); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if !r.OK() || len(r.Unexpected) > 0 {
		t.Errorf("got %+v, want nothing unexpected", r)
	}
}

// The keys of --json are stable.
func TestReportGolden(t *testing.T) {
	q := load.Latency{Count: 3, P50: 12.5, P90: 20, P99: 130.25, Max: 131}
	r := load.Report{
		Orders: 5, Placed: 5, Ended: 4, Stuck: 1, Seconds: 2.5, OrdersPerSecond: 1.6, Concurrency: 2, Customers: 2, Seed: 1,
		Quote: q, Accept: q, Accepted: q, Delivered: q, Steps: map[string]load.Latency{customer.StepReady: q},
		Outcomes:   map[orderapi.Status]int{orderapi.Delivered: 3, orderapi.Declined: 1},
		Unexpected: map[string]int{"ok: declined": 1}, Errors: map[string]int{"unavailable": 2}, Retries: 2,
		StuckOrders: []string{"ord_5"},
	}
	golden(t, "report.json", marshal(t, r))
	golden(t, "report.txt", text(t, r))
	half := load.Bench{
		Closed: []load.Closed{
			{Concurrency: 10, Orders: 200, Ended: 200, OrdersPerSecond: 10, Accept: q, Delivered: q,
				Noops: &load.Noops{Workflows: 200, Ended: 200, Seconds: 8, PerSecond: 25}, Ratio: 0.4},
			{Concurrency: 40, Orders: 200, Ended: 200, OrdersPerSecond: 12, Accept: q, Delivered: q},
		},
		Half: load.Half{Rate: 6, Orders: 200, Ended: 200, OrdersPerSecond: 6, Accept: q},
	}
	golden(t, "bench.json", marshal(t, half))
	half.TimeScale, half.NoopProblem = 1, "the order service offers none"
	golden(t, "bench.md", text(t, half))
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

func text(t *testing.T, r interface{ Print(io.Writer) error }) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s", name, diff)
	}
}

type noops struct{ err error }

func (n noops) RunNoops(_ context.Context, workflows, _ int) (load.Noops, error) {
	return load.Noops{Workflows: workflows, Ended: workflows, Seconds: 1, PerSecond: 20}, n.err
}

func TestMeasure(t *testing.T) {
	reports := func(_ context.Context, cfg load.Config) (load.Report, error) {
		return load.Report{Orders: cfg.Orders, Ended: cfg.Orders, OrdersPerSecond: float64(cfg.Concurrency), Rate: cfg.Rate}, nil
	}
	for _, tc := range []struct {
		name    string
		noops   noops
		n       int
		ratio   float64
		problem string
	}{
		{"all", noops{}, 50, 0.5, ""},
		{"not enabled", noops{problem.New(problem.NotFound, "")}, 50, 0, "BENCH=1"},
		{"broken", noops{errors.New("broken")}, 50, 0, "broken"},
		{"not wanted", noops{}, 0, 0, "not asked for"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			plan := load.Plan{Orders: 50, Concurrency: []int{10, 40}, Noops: tc.n}
			b, err := load.Measure(t.Context(), plan, load.Config{}, reports, tc.noops, nil, func(string) {})
			if err != nil {
				t.Fatal(err)
			}
			if got, want := b.Half.Rate, 20.0; got != want {
				t.Errorf("half of the best rate: got %g, want %g", got, want)
			}
			if got := b.Closed[0].Ratio; got != tc.ratio {
				t.Errorf("ratio: got %g, want %g", got, tc.ratio)
			}
			if !strings.Contains(b.NoopProblem, tc.problem) || tc.problem == "" && b.NoopProblem != "" {
				t.Errorf("problem: got %q, want %q", b.NoopProblem, tc.problem)
			}
		})
	}
}

func TestOrderService(t *testing.T) {
	var asked, token string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		_, _ = b.ReadFrom(r.Body)
		asked, token = r.Method+" "+r.URL.Path+" "+b.String(), r.Header.Get("dapr-api-token")
		_, _ = w.Write([]byte(`{"workflows":7,"ended":7,"seconds":0.5,"per_second":14}`))
	}))
	defer s.Close()
	port := s.Listener.Addr().(*net.TCPAddr).Port
	got, err := load.OrderService{Port: port, Token: "secret"}.RunNoops(t.Context(), 7, 2)
	if err != nil {
		t.Fatal(err)
	}
	if want := (load.Noops{Workflows: 7, Ended: 7, Seconds: 0.5, PerSecond: 14}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if want := `POST /internal/bench/noop {"workflows":7,"concurrency":2}`; asked != want || token != "secret" {
		t.Errorf("got request %q with token %q, want %q with secret", asked, token, want)
	}
}
