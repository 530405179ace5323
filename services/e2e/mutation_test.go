package e2e

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// Lifetimes on the platform on which things run out.
const (
	quoteLifetime = 4 * time.Second
	tokenLifetime = 10 * time.Second
)

// A platform of its own, on which quotes and tokens run out soon. After a stop in order it is started again on the same
// data with a card acquirer that ignores idempotency keys, which the audit has to notice.
func TestExpiryAndMutation(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: needs a platform of its own")
	}
	dir := filepath.Dir(shared.data) // is kept when a test fails
	s := newSite(filepath.Join(programs, "dishmesh"), filepath.Join(dir, "expiry"), "--time-scale", "0",
		"--set", "pricing.QUOTE_LIFETIME="+quoteLifetime.String(), "--set", "user.ACCESS_TOKEN_TTL="+tokenLifetime.String())
	t.Cleanup(func() {
		if err := s.down(); err != nil {
			t.Error(err)
		}
	})
	if err := s.up(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.use(t)
	t.Run("expiry", func(t *testing.T) { checkExpiry(t, s) })

	// With the keys, a time-out after the acquirer has done its work costs nobody anything.
	timeouts := []string{"timeout-after-capture", "timeout-after-authorize"}
	for _, card := range timeouts {
		s.order(t, 0, "--card", card)
	}
	s.auditGreen(t)
	if err := s.down(); err != nil {
		t.Fatal(err)
	}

	mutant := filepath.Join(dir, "mutant")
	if err := goBuild(t.Context(), mutant, "acquirer_no_idempotency", "./services/cmd/dishmesh"); err != nil {
		t.Fatal(err)
	}
	intact := s.program
	s.program = filepath.Join(mutant, "dishmesh")
	s.flags = append(s.flags, "--bin", programs)
	if err := s.up(t.Context()); err != nil {
		t.Fatal(err)
	}
	var harmed []string
	for _, card := range timeouts {
		// How these end is not told by the customer's side: that is what the audit is for.
		o, err := s.run(t.Context(), "order", "--json", "--timeout", "1m", "--card", card)
		if err != nil {
			t.Fatal(err)
		}
		var placed ordered
		if err := json.Unmarshal([]byte(o.stdout), &placed); err != nil {
			t.Fatalf("order --json: %v: %s", err, o)
		}
		harmed = append(harmed, placed.OrderID)
	}
	s.program = intact
	v := s.audit(t, 1)
	var violations []string
	for _, invariant := range v.Invariants {
		if invariant.OK != (invariant.ID != bookInvariant) {
			t.Errorf("invariant %d, %s: got ok=%t, %v", invariant.ID, invariant.Name, invariant.OK, invariant.Violations)
		}
		violations = append(violations, invariant.Violations...)
	}
	want := []string{
		harmed[0] + ": the acquirer has 2 operations to capture",
		harmed[1] + ": the acquirer has 2 operations to authorize",
	}
	slices.Sort(want)
	slices.Sort(violations)
	if diff := cmp.Diff(want, violations); diff != "" || v.OK {
		t.Errorf("without idempotency keys at the acquirer: ok=%t, violations (-want +got):\n%s", v.OK, diff)
	}
}

// bookInvariant is the one that holds the acquirer's book against the ledger.
const bookInvariant = 8

// checkExpiry wants a quote and an access token to be refused once their time is over, as it was told.
func checkExpiry(t *testing.T, s *site) {
	eve := s.customer(t)
	quote := eve.quote(t, s.meal(t, 0).basket(1))
	place := placing(ids.New("key"), orderapi.PlaceRequest{Quote: quote.Token, Card: "card_ok"})
	waitUntil(t, quote.ExpiresAt)
	refuses(t, eve, place, problem.QuoteExpired)

	a := eve.send(t, request{method: "GET", path: "/v1/users/me"})
	eventually(t, tokenLifetime+30*time.Second, "the token has run out", func() error {
		if a = eve.send(t, request{method: "GET", path: "/v1/users/me"}); a.status == http.StatusOK {
			return problem.New(problem.IllegalState, "it is still good")
		}
		return nil
	})
	checkProblem(t, s, a, "/v1/users/me", problem.TokenExpired)
	refuses(t, eve, place, problem.TokenExpired)
}

// waitUntil waits for an instant that the platform has named.
func waitUntil(t *testing.T, at time.Time) {
	t.Helper()
	select {
	case <-time.After(time.Until(at)):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}
