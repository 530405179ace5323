//go:build !acquirer_no_idempotency

package acquirer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/city/acquirer"
)

const apiKey = "test-key"

// desk is a running acquirer and a merchant's way to it.
type desk struct {
	t      testing.TB
	book   string
	url    string
	client *http.Client
	log    *bytes.Buffer
}

func open(t testing.TB, book string) (*desk, func()) {
	t.Helper()
	var log bytes.Buffer
	a, err := acquirer.Open(acquirer.Config{
		BookPath: book, APIKey: apiKey, Silence: time.Minute, SlowBy: 10 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(a.Handler())
	return &desk{t: t, book: book, url: s.URL, client: s.Client(), log: &log}, func() {
		s.Close()
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d, stop := open(t, filepath.Join(t.TempDir(), "acquirer.jsonl"))
	t.Cleanup(stop)
	return d
}

// answer is what came back: 0 for none.
type answer struct {
	Status   int
	Body     string
	Replayed bool
}

func (a answer) field(name string) string {
	var m map[string]any
	_ = json.Unmarshal([]byte(a.Body), &m)
	return fmt.Sprint(m[name])
}

func (d *desk) call(ctx context.Context, method, path, key, body string) answer {
	d.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, d.url+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := d.client.Do(req)
	if errors.Is(err, context.DeadlineExceeded) {
		return answer{}
	}
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		d.t.Fatal(err)
	}
	return answer{resp.StatusCode, b.String(), resp.Header.Get("Idempotent-Replayed") == "true"}
}

func (d *desk) post(path, key, body string) answer {
	d.t.Helper()
	return d.call(d.t.Context(), http.MethodPost, path, key, body)
}

// impatient gives up soon, as a caller with a time-out does.
func (d *desk) impatient(path, key, body string) answer {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 150*time.Millisecond)
	defer cancel()
	return d.call(ctx, http.MethodPost, path, key, body)
}

func (d *desk) lookup(key string) answer {
	d.t.Helper()
	return d.call(d.t.Context(), http.MethodGet, "/v1/operations/"+key, "", "")
}

func authorization(card, reference string) string {
	return fmt.Sprintf(`{"amount":2350,"currency":"EUR","card":%q,"merchant_reference":%q}`, card, reference)
}

// authorize makes an authorization that works and returns its id.
func (d *desk) authorize(card, reference string) string {
	d.t.Helper()
	a := d.post("/v1/authorizations", reference+"/authorize", authorization(card, reference))
	if a.Status != http.StatusCreated || a.field("status") != "authorized" {
		d.t.Fatalf("authorize %s: got %+v, want 201 authorized", card, a)
	}
	return a.field("id")
}

func (d *desk) operations() []acquirer.Operation {
	d.t.Helper()
	ops, err := acquirer.ReadBook(d.book)
	if err != nil {
		d.t.Fatal(err)
	}
	return ops
}

// lines gives "kind outcome amount" of the book.
func lines(ops []acquirer.Operation) []string {
	var out []string
	for _, o := range ops {
		out = append(out, fmt.Sprintf("%s %s %d", o.Kind, o.Outcome, o.Amount))
	}
	return out
}

func TestTestCards(t *testing.T) {
	const path = "/v1/authorizations"
	for _, test := range []struct {
		card    string
		first   []int // statuses of the calls with one key, the last being the one that settles it
		status  string
		reason  string
		outcome []string
	}{
		{card: "card_ok", first: []int{201}, status: "authorized", outcome: []string{"authorize approved 2350"}},
		{card: "card_declined", first: []int{201}, status: "declined", reason: "card_declined", outcome: []string{"authorize declined 2350"}},
		{card: "card_insufficient", first: []int{201}, status: "declined", reason: "insufficient_funds", outcome: []string{"authorize declined 2350"}},
		{card: "card_of_nobody", first: []int{201}, status: "declined", reason: "unknown_card", outcome: []string{"authorize declined 2350"}},
		{card: "card_slow", first: []int{201}, status: "authorized", outcome: []string{"authorize approved 2350"}},
		{card: "card_timeout_before", first: []int{0, 201}, status: "authorized", outcome: []string{"authorize unavailable 2350", "authorize approved 2350"}},
		{card: "card_timeout_after_authorize", first: []int{0, 201}, status: "authorized", outcome: []string{"authorize approved 2350"}},
		{card: "card_timeout_after_capture", first: []int{201}, status: "authorized", outcome: []string{"authorize approved 2350"}},
		{card: "card_fail_2", first: []int{503, 503, 201}, status: "authorized", outcome: []string{"authorize unavailable 2350", "authorize unavailable 2350", "authorize approved 2350"}},
		{card: "card_duplicate", first: []int{409, 201}, status: "authorized", outcome: []string{"authorize approved 2350"}},
	} {
		t.Run(test.card, func(t *testing.T) {
			d := newDesk(t)
			var got []int
			var last answer
			for range test.first {
				last = d.impatient(path, "ord_1/authorize", authorization(test.card, "ord_1"))
				got = append(got, last.Status)
			}
			if diff := cmp.Diff(test.first, got); diff != "" {
				t.Fatalf("statuses -want +got:\n%s", diff)
			}
			if last.field("status") != test.status || test.reason != "" && last.field("reason") != test.reason {
				t.Errorf("got %s, want status %s, reason %q", last.Body, test.status, test.reason)
			}
			again := d.post(path, "ord_1/authorize", authorization(test.card, "ord_1"))
			if diff := cmp.Diff(answer{last.Status, last.Body, true}, again); diff != "" {
				t.Errorf("a repeat, -want +got:\n%s", diff)
			}
			if diff := cmp.Diff(answer{200, last.Body, true}, d.lookup("ord_1/authorize")); diff != "" {
				t.Errorf("the lookup, -want +got:\n%s", diff)
			}
			if diff := cmp.Diff(test.outcome, lines(d.operations())); diff != "" {
				t.Errorf("the book, -want +got:\n%s", diff)
			}
			if log := strings.ReplaceAll(d.log.String(), d.book, ""); strings.Contains(log, test.card) {
				t.Errorf("the log has a card token in full:\n%s", d.log)
			}
		})
	}
}

func TestTimeoutBeforeLeavesNothingToLookUp(t *testing.T) {
	d := newDesk(t)
	if a := d.impatient("/v1/authorizations", "k", authorization("card_timeout_before", "ord_1")); a.Status != 0 {
		t.Fatalf("got %+v, want no answer", a)
	}
	if a := d.lookup("k"); a.Status != http.StatusNotFound {
		t.Errorf("lookup: got %+v, want 404", a)
	}
}

func TestTimeoutAfterCaptureTakesTheMoneyOnce(t *testing.T) {
	d := newDesk(t)
	id := d.authorize("card_timeout_after_capture", "ord_1")
	path, key, body := "/v1/authorizations/"+id+"/capture", "ord_1/capture", `{"amount":2350}`
	if a := d.impatient(path, key, body); a.Status != 0 {
		t.Fatalf("first capture: got %+v, want no answer", a)
	}
	found := d.lookup(key)
	if found.Status != http.StatusOK || found.field("status") != "captured" {
		t.Fatalf("lookup: got %+v, want 200 captured", found)
	}
	if a := d.impatient(path, key, body); a.Status != http.StatusCreated || a.Body != found.Body {
		t.Errorf("second capture: got %+v, want 201 %s", a, found.Body)
	}
	want := []string{"authorize approved 2350", "capture approved 2350"}
	if diff := cmp.Diff(want, lines(d.operations())); diff != "" {
		t.Errorf("the book, -want +got:\n%s", diff)
	}
}

func TestDuplicateCarriesTheOriginalAnswer(t *testing.T) {
	d := newDesk(t)
	a := d.post("/v1/authorizations", "k", authorization("card_duplicate", "ord_1"))
	var p acquirer.Problem
	if err := json.Unmarshal([]byte(a.Body), &p); err != nil {
		t.Fatal(err)
	}
	if p.Type != "urn:acquirer:problem:duplicate" || string(p.Original) != d.lookup("k").Body {
		t.Errorf("got %s, want a duplicate with the original answer", a.Body)
	}
}

func TestStateMachine(t *testing.T) {
	type step struct {
		do     string // capture, void or refund, then the amount
		amount int64
		want   int
	}
	for _, test := range []struct {
		name, card string
		steps      []step
	}{
		{"captured once", "card_ok", []step{{"capture", 2350, 201}, {"capture", 2350, 409}, {"void", 0, 409}}},
		{"captured in part", "card_ok", []step{{"capture", 2000, 201}, {"refund", 2001, 409}, {"refund", 2000, 201}}},
		{"not more than was held", "card_ok", []step{{"capture", 2351, 409}, {"capture", 2350, 201}}},
		{"voided once", "card_ok", []step{{"void", 0, 200}, {"void", 0, 409}, {"capture", 2350, 409}}},
		{"refunds up to what was captured", "card_ok", []step{{"capture", 2350, 201}, {"refund", 350, 201}, {"refund", 2000, 201}, {"refund", 1, 409}}},
		{"declined", "card_declined", []step{{"capture", 2350, 409}, {"void", 0, 409}}},
		{"bad amounts", "card_ok", []step{{"capture", 0, 400}, {"capture", -1, 400}, {"capture", acquirer.MaxAmount + 1, 400}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDesk(t)
			aut := d.post("/v1/authorizations", "k", authorization(test.card, "ord_1")).field("id")
			captured := "cap_unknown"
			for i, s := range test.steps {
				path, body := "/v1/authorizations/"+aut+"/"+s.do, fmt.Sprintf(`{"amount":%d}`, s.amount)
				switch s.do {
				case "void":
					body = `{}`
				case "refund":
					path = "/v1/captures/" + captured + "/refund"
				}
				key := fmt.Sprintf("step-%d", i)
				a := d.post(path, key, body)
				if a.Status != s.want {
					t.Fatalf("step %d, %s %d: got %+v, want %d", i, s.do, s.amount, a, s.want)
				}
				if s.do == "capture" && a.Status == 201 {
					captured = a.field("id")
				}
				if again := d.post(path, key, body); again.Status != a.Status || again.Body != a.Body {
					t.Errorf("step %d repeated: got %+v, want %+v", i, again, a)
				}
			}
		})
	}
}

func TestBadRequests(t *testing.T) {
	d := newDesk(t)
	id := d.authorize("card_ok", "ord_0")
	const path = "/v1/authorizations"
	good := authorization("card_ok", "ord_1")
	for _, test := range []struct {
		name, path, key, body string
		status                int
		says                  string
	}{
		{"no key", path, "", good, 400, "idempotency-key-missing"},
		{"key with a space", path, "a b", good, 400, "idempotency-key-missing"},
		{"not JSON", path, "k", "{", 400, "invalid-request"},
		{"two bodies", path, "k", good + good, 400, "after the end"},
		{"unknown field", path, "k", `{"amount":1,"cvc":1}`, 400, "cvc"},
		{"wrong type", path, "k", `{"amount":"1"}`, 400, "invalid-request"},
		{"fraction", path, "k", `{"amount":1.5}`, 400, "invalid-request"},
		{"all faults at once", path, "k", `{"amount":0,"currency":"eur","card":"","merchant_reference":"ö"}`, 400, "merchant_reference"},
		{"no such currency", path, "k", strings.Replace(good, "EUR", "ZZZ", 1), 400, "ISO 4217"},
		{"too large", path, "k", strings.Repeat(" ", 20<<10) + good, 413, "bytes"},
		{"no such authorization", path + "/aut_x/void", "k", "{}", 404, "aut_x"},
		{"no such capture", "/v1/captures/cap_x/refund", "k", `{"amount":1}`, 404, "cap_x"},
		{"no such path", "/v1/nothing", "k", "{}", 404, "not-found"},
		{"key of another body", path, "ord_0/authorize", good, 422, "idempotency-key-reused"},
		{"key of another path", path + "/" + id + "/void", "ord_0/authorize", "{}", 422, "idempotency-key-reused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := d.post(test.path, test.key, test.body)
			if a.Status != test.status || !strings.Contains(a.Body, test.says) {
				t.Errorf("got %+v, want %d with %q", a, test.status, test.says)
			}
		})
	}
	if a := d.lookup("k"); a.Status != 404 {
		t.Errorf("a faulty request bound its key: %+v", a)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.url+"/v1/operations/k", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer wrong")
	resp, err := d.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a wrong API key: got %d, want 401", resp.StatusCode)
	}
}

func TestOneOfManyConcurrentRepeatsDoesTheWork(t *testing.T) {
	d := newDesk(t)
	var wg sync.WaitGroup
	answers := make([]answer, 20)
	for i := range answers {
		wg.Go(func() { answers[i] = d.post("/v1/authorizations", "k", authorization("card_ok", "ord_1")) })
	}
	wg.Wait()
	for _, a := range answers {
		if a.Status != http.StatusCreated || a.Body != answers[0].Body {
			t.Errorf("got %+v, want %+v", a, answers[0])
		}
	}
	if n := len(d.operations()); n != 1 {
		t.Errorf("got %d operations, want 1", n)
	}
}

func TestBookSurvivesACrash(t *testing.T) {
	book := filepath.Join(t.TempDir(), "acquirer.jsonl")
	d, stop := open(t, book)
	id := d.authorize("card_ok", "ord_1")
	captured := d.post("/v1/authorizations/"+id+"/capture", "ord_1/capture", `{"amount":2350}`)
	if a := d.post("/v1/authorizations", "ord_2/authorize", authorization("card_fail_2", "ord_2")); a.Status != 503 {
		t.Fatalf("card_fail_2: got %+v, want 503", a)
	}
	stop()
	before := d.operations()
	f, err := os.OpenFile(book, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"sequence":4,"kind":"refund","outc`); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	d, stop = open(t, book)
	defer stop()
	if !strings.Contains(d.log.String(), "torn") {
		t.Errorf("the log does not tell of the torn line:\n%s", d.log)
	}
	if diff := cmp.Diff(before, d.operations()); diff != "" {
		t.Errorf("the book changed, -want +got:\n%s", diff)
	}
	again := d.post("/v1/authorizations/"+id+"/capture", "ord_1/capture", `{"amount":2350}`)
	if again.Body != captured.Body || !again.Replayed {
		t.Errorf("a repeat after the crash: got %+v, want %+v", again, captured)
	}
	if a := d.post("/v1/authorizations/"+id+"/void", "ord_1/void", `{}`); a.Status != http.StatusConflict {
		t.Errorf("void of a captured authorization after the crash: got %+v, want 409", a)
	}
	var got []int
	for range 2 {
		got = append(got, d.post("/v1/authorizations", "ord_2/authorize", authorization("card_fail_2", "ord_2")).Status)
	}
	if diff := cmp.Diff([]int{503, 201}, got); diff != "" {
		t.Errorf("card_fail_2 after the crash, -want +got:\n%s", diff)
	}
}

func TestReadBookRefusesAGap(t *testing.T) {
	book := filepath.Join(t.TempDir(), "acquirer.jsonl")
	if err := os.WriteFile(book, []byte(`{"sequence":1,"kind":"void"}`+"\n"+`{"sequence":3,"kind":"void"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := acquirer.ReadBook(book); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("ReadBook: got %v, want an error about line 2", err)
	}
	if _, err := acquirer.Open(acquirer.Config{BookPath: book, APIKey: apiKey}); err == nil {
		t.Error("Open: got no error, want one about the gap")
	}
}

func BenchmarkAuthorize(b *testing.B) {
	d, stop := open(b, filepath.Join(b.TempDir(), "acquirer.jsonl"))
	defer stop()
	var n counter
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			ref := fmt.Sprintf("ord_%d", n.next())
			if a := d.call(context.Background(), http.MethodPost, "/v1/authorizations", ref, authorization("card_ok", ref)); a.Status != 201 {
				b.Errorf("got %+v, want 201", a)
			}
		}
	})
}
