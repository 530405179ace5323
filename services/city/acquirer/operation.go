// Package acquirer is a card acquirer as a payment service meets one: authorizations, captures, voids and
// refunds over HTTP, idempotency keys, answers that get lost on the way, and a durable book of all that
// happened. The book is a second witness: an audit compares it with the ledger of the platform.
package acquirer

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/dishmesh/dishmesh/services/city/journal"
)

// Kind says what a merchant asked for.
type Kind string

// The kinds of operation.
const (
	Authorize Kind = "authorize"
	Capture   Kind = "capture"
	Void      Kind = "void"
	Refund    Kind = "refund"
)

// Outcome says how an operation ended. Only Approved moves money or holds it.
type Outcome string

// The outcomes.
const (
	Approved    Outcome = "approved"    // done
	Declined    Outcome = "declined"    // the issuer said no: an answer, not a fault
	Refused     Outcome = "refused"     // the state does not allow it, answered with 409
	Unavailable Outcome = "unavailable" // nothing was done: a test card made the acquirer fail or fall silent
)

// Operation is one line of the book. An audit adds up the Approved ones by MerchantReference.
type Operation struct {
	Sequence          int64           `json:"sequence"` // 1, 2, 3 … without a gap
	Time              time.Time       `json:"time"`
	Kind              Kind            `json:"kind"`
	Outcome           Outcome         `json:"outcome"`
	Reason            string          `json:"reason,omitempty"`
	IdempotencyKey    string          `json:"idempotency_key"`
	Fingerprint       string          `json:"fingerprint"` // of method, path and body, to know the same request again
	MerchantReference string          `json:"merchant_reference"`
	AuthorizationID   string          `json:"authorization_id,omitempty"`
	CaptureID         string          `json:"capture_id,omitempty"`
	RefundID          string          `json:"refund_id,omitempty"`
	Amount            int64           `json:"amount"` // minor units; of a void: the amount that is set free
	Currency          string          `json:"currency"`
	Card              string          `json:"card,omitempty"`     // masked
	Scenario          Scenario        `json:"scenario,omitempty"` // what the test card makes happen
	Status            int             `json:"status,omitempty"`   // of the recorded answer; 0 when there is none
	Answer            json.RawMessage `json:"answer,omitempty"`   // the recorded answer, byte for byte
}

// recorded reports whether the operation's answer is bound to its idempotency key.
func (o Operation) recorded() bool { return o.Status != 0 }

// ReadBook reads the acquirer's book, in order. It may be used while the acquirer runs: a line that is just
// being written is left out. A book that does not exist is empty. A gap in the sequence is an error.
func ReadBook(path string) ([]Operation, error) {
	var ops []Operation
	err := journal.Read(path, func(line []byte) error {
		op, err := decodeOperation(line, int64(len(ops)+1))
		if err == nil {
			ops = append(ops, op)
		}
		return err
	})
	return ops, err
}

func decodeOperation(line []byte, want int64) (Operation, error) {
	var op Operation
	if err := json.Unmarshal(line, &op); err != nil {
		return op, err
	}
	if op.Sequence != want {
		return op, fmt.Errorf("sequence is %d, want %d: the book has a gap or a double line", op.Sequence, want)
	}
	return op, nil
}
