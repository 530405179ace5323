//go:build !acquirer_no_idempotency

package acquirer_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/dishmesh/dishmesh/services/city/acquirer"
)

type counter struct{ n atomic.Int64 }

func (c *counter) next() int64 { return c.n.Add(1) }

// TestAnyHistoryIsIdempotentAndBalanced sends random calls with repeats and restarts in between, and then adds up the book.
func TestAnyHistoryIsIdempotentAndBalanced(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		d, stop := open(t, filepath.Join(dir, "acquirer.jsonl"))
		defer func() { stop() }()

		type call struct{ path, key, body string }
		var calls []call
		answers := map[string]answer{}
		var authorizations, captures []string
		send := func(c call) {
			got := d.post(c.path, c.key, c.body)
			if want, ok := answers[c.key]; ok && (got.Body != want.Body || got.Status != want.Status || !got.Replayed) {
				rt.Fatalf("repeat of %+v: got %+v, want %+v", c, got, want)
			}
			answers[c.key] = got
			switch got.field("status") {
			case "authorized", "declined":
				authorizations = append(authorizations, got.field("id"))
			case "captured":
				captures = append(captures, got.field("id"))
			}
		}
		amount := rapid.Int64Range(1, 3000)
		for i := range rapid.IntRange(1, 30).Draw(rt, "calls") {
			c := call{key: fmt.Sprintf("key-%d", i), body: fmt.Sprintf(`{"amount":%d}`, amount.Draw(rt, "amount"))}
			switch what := rapid.IntRange(0, 9).Draw(rt, "what"); {
			case what <= 2:
				card := rapid.SampledFrom([]string{"card_ok", "card_ok", "card_declined"}).Draw(rt, "card")
				c.path, c.body = "/v1/authorizations", authorization(card, fmt.Sprintf("ord_%d", i))
			case what <= 4 && len(authorizations) > 0:
				c.path = "/v1/authorizations/" + rapid.SampledFrom(authorizations).Draw(rt, "authorization") + "/capture"
			case what == 5 && len(authorizations) > 0:
				c.path, c.body = "/v1/authorizations/"+rapid.SampledFrom(authorizations).Draw(rt, "authorization")+"/void", "{}"
			case what <= 7 && len(captures) > 0:
				c.path = "/v1/captures/" + rapid.SampledFrom(captures).Draw(rt, "capture") + "/refund"
			case what == 8 && len(calls) > 0:
				c = rapid.SampledFrom(calls).Draw(rt, "repeat")
			case what == 9:
				stop()
				d, stop = open(t, d.book)
				continue
			default:
				continue
			}
			send(c)
			calls = append(calls, c)
		}
		checkBook(rt, d.operations(), len(answers))
	})
}

// checkBook adds up a book: no key twice, and per authorization at most one end, within what was held.
func checkBook(rt *rapid.T, ops []acquirer.Operation, keys int) {
	if len(ops) != keys {
		rt.Fatalf("got %d operations, want one for each of %d keys", len(ops), keys)
	}
	held, ends := map[string]int64{}, map[string]int{}
	captured, refunded := map[string]int64{}, map[string]int64{}
	seen := map[string]bool{}
	for _, o := range ops {
		if seen[o.IdempotencyKey] {
			rt.Fatalf("key %s is twice in the book", o.IdempotencyKey)
		}
		seen[o.IdempotencyKey] = true
		if o.Outcome != acquirer.Approved {
			continue
		}
		switch o.Kind {
		case acquirer.Authorize:
			held[o.AuthorizationID] = o.Amount
		case acquirer.Capture:
			ends[o.AuthorizationID]++
			captured[o.CaptureID] = o.Amount
			if o.Amount > held[o.AuthorizationID] {
				rt.Fatalf("captured %d of %d", o.Amount, held[o.AuthorizationID])
			}
		case acquirer.Void:
			ends[o.AuthorizationID]++
		case acquirer.Refund:
			refunded[o.CaptureID] += o.Amount
		}
	}
	for id, n := range ends {
		if n > 1 {
			rt.Fatalf("authorization %s ended %d times", id, n)
		}
	}
	for id, n := range refunded {
		if n > captured[id] {
			rt.Fatalf("capture %s: refunded %d of %d", id, n, captured[id])
		}
	}
}
