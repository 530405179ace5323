//go:build acquirer_no_idempotency

package acquirer_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dishmesh/dishmesh/services/city/acquirer"
)

// TestWithoutIdempotencyARepeatChargesAgain shows that the mutation does what the audit has to notice.
func TestWithoutIdempotencyARepeatChargesAgain(t *testing.T) {
	book := filepath.Join(t.TempDir(), "acquirer.jsonl")
	a, err := acquirer.Open(acquirer.Config{BookPath: book, APIKey: "k"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}()
	send := func(method, path, body string) int {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer k")
		r.Header.Set("Idempotency-Key", "ord_1/step")
		w := httptest.NewRecorder()
		a.Handler().ServeHTTP(w, r)
		return w.Code
	}
	send(http.MethodPost, "/v1/authorizations", `{"amount":5,"currency":"EUR","card":"card_ok","merchant_reference":"ord_1"}`)
	ops, err := acquirer.ReadBook(book)
	if err != nil || len(ops) != 1 {
		t.Fatalf("got %d operations and %v, want 1", len(ops), err)
	}
	capture := "/v1/authorizations/" + ops[0].AuthorizationID + "/capture"
	for range 2 {
		if got := send(http.MethodPost, capture, `{"amount":5}`); got != http.StatusCreated {
			t.Fatalf("capture: got %d, want 201", got)
		}
	}
	if got := send(http.MethodGet, "/v1/operations/ord_1/step", ""); got != http.StatusNotFound {
		t.Errorf("lookup: got %d, want 404", got)
	}
	if ops, err = acquirer.ReadBook(book); err != nil || len(ops) != 3 {
		t.Errorf("got %d operations and %v, want 3: two captures", len(ops), err)
	}
}
