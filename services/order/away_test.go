package order

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/dapr/durabletask-go/workflow"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/rpc"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/saga"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
)

// confirming is a pricing service that confirms every quote.
type confirming struct {
	pricingapi.UnimplementedPricingServiceHandler
}

// ConfirmQuote implements pricingapi.PricingServiceHandler.
func (confirming) ConfirmQuote(context.Context, *connect.Request[pricingapi.ConfirmQuoteRequest]) (*connect.Response[pricingapi.ConfirmQuoteResponse], error) {
	q := pricingapi.Quote{ID: "qte_1", RestaurantID: "rst_01", Currency: "EUR", Total: 1000}
	return connect.NewResponse(&pricingapi.ConfirmQuoteResponse{Quote: pricingapi.NewSignedQuote(q)}), nil
}

// Without pricing nothing is placed: a clear refusal, nothing written, and the same key is good later. How long the
// customer waits for that is less than the 5 s of the gateway.
func TestNothingIsPlacedWhilePricingIsAway(t *testing.T) {
	d, fakes := runtest.New(t, "order")
	engine := &noting{}
	s, err := newService(d, Config{OrderDeadline: time.Minute}, engine)
	if err != nil {
		t.Fatal(err)
	}
	runtest.Start(t, d)
	router := runtest.Router(d, s)
	place := func() (*httptest.ResponseRecorder, time.Duration) {
		body := `{"quote":"q","card":"card_ok"}`
		r := httptest.NewRequest(http.MethodPost, "/v1/orders", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set(web.IdempotencyKeyHeader, "key-00000001")
		web.Identity{Subject: "usr_1", Role: web.RoleCustomer}.Set(r.Header)
		w := httptest.NewRecorder()
		began := time.Now()
		router.ServeHTTP(w, r)
		return w, time.Since(began)
	}
	for name, tt := range map[string]struct {
		pricing http.HandlerFunc
		want    problem.Type
	}{
		"absent": {nil, problem.Unavailable},
		"left alone": {func(w http.ResponseWriter, r *http.Request) {
			web.Fail(w, r, problem.New(problem.Unavailable, "pricing is left alone").After(20*time.Second))
		}, problem.Unavailable},
		"hanging": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, problem.Timeout},
	} {
		delete(fakes.Mesh, pricingapi.App)
		if tt.pricing != nil {
			fakes.Mesh[pricingapi.App] = tt.pricing
		}
		w, took := place()
		if err := problem.Read(w.Result()); problem.Of(err) != tt.want {
			t.Errorf("%s: got %v, want %s", name, err, tt.want)
		}
		if name == "left alone" && w.Header().Get("Retry-After") != "20" {
			t.Errorf("%s: Retry-After %q", name, w.Header().Get("Retry-After"))
		}
		if took > 4*time.Second {
			t.Errorf("%s: refused after %s", name, took)
		}
		for _, key := range fakes.Store.Keys() {
			if !strings.HasPrefix(key, "outbox/") {
				t.Errorf("%s: %s was written", name, key)
			}
		}
	}
	_, fakes.Mesh[pricingapi.App] = pricingapi.NewPricingServiceHandler(confirming{}, rpc.HandlerOptions())
	w, _ := place()
	var o orderapi.Order
	if err := json.Unmarshal(w.Body.Bytes(), &o); err != nil || w.Code != http.StatusCreated || o.Status != orderapi.Placed {
		t.Errorf("when pricing is back: %d %s", w.Code, w.Body)
	}
}

// An order that is accepted outlasts a callee that is away: a step is tried for longer than a breaker is open three
// times over, and a compensation for most of an hour.
func TestRetriesOutlastAnOpenBreaker(t *testing.T) {
	pause := sidecar.DefaultLimits().Pause
	for _, tt := range []struct {
		name   string
		policy workflow.RetryPolicy
		least  time.Duration
	}{
		{"forward", saga.Forward, 3 * pause},
		{"backward", saga.Backward, 50 * time.Minute},
	} {
		total, interval := time.Duration(0), tt.policy.InitialRetryInterval
		for range tt.policy.MaxAttempts - 1 {
			total += interval
			interval = min(time.Duration(float64(interval)*tt.policy.BackoffCoefficient), tt.policy.MaxRetryInterval)
		}
		if total < tt.least {
			t.Errorf("%s: tried for %s, want at least %s", tt.name, total, tt.least)
		}
		if tt.policy.MaxRetryInterval > pause {
			t.Errorf("%s: up to %s between tries; a breaker's trial would wait for it", tt.name, tt.policy.MaxRetryInterval)
		}
	}
}
