package acquirer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"golang.org/x/text/currency"
)

const (
	maxBody      = 16 << 10
	maxKey       = 255
	maxReference = 64
	maxCard      = 64
	// MaxAmount is the largest amount of one operation in minor units: eight digits.
	MaxAmount = 99_999_999
)

// AuthorizationRequest asks to hold an amount on a card: POST /v1/authorizations.
type AuthorizationRequest struct {
	Amount            int64  `json:"amount"`   // minor units, 1 to MaxAmount
	Currency          string `json:"currency"` // ISO 4217
	Card              string `json:"card"`
	MerchantReference string `json:"merchant_reference"` // the merchant's name for the purchase
}

// AmountRequest asks to capture or refund an amount in minor units.
type AmountRequest struct {
	Amount int64 `json:"amount"`
}

// readRequest reads and checks what all operations share and binds the request to its fingerprint.
func readRequest(w http.ResponseWriter, r *http.Request, read func(*http.Request) (request, error)) (request, error) {
	key := r.Header.Get("Idempotency-Key")
	if !printable(key, maxKey) {
		return request{}, newProblem(http.StatusBadRequest, "idempotency-key-missing", "Idempotency-Key is missing",
			"send one of 1 to %d visible ASCII characters, new for each intent and the same for its repeats", maxKey)
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	req, err := read(r)
	if err != nil {
		return request{}, err
	}
	req.key = key
	req.target = r.PathValue("id")
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%d\n%s\n%s\n%q",
		req.kind, req.target, req.amount, req.currency, req.card, req.reference))
	req.fingerprint = hex.EncodeToString(sum[:])
	return req, nil
}

func readAuthorize(r *http.Request) (request, error) {
	var in AuthorizationRequest
	if err := decode(r, &in); err != nil {
		return request{}, err
	}
	var faults []FieldError
	faults = checkAmount(faults, in.Amount)
	if len(in.Currency) != 3 || bytes.ContainsFunc([]byte(in.Currency), func(c rune) bool { return c < 'A' || c > 'Z' }) {
		faults = append(faults, FieldError{"currency", "must be three capital letters (ISO 4217)"})
	} else if _, err := currency.ParseISO(in.Currency); err != nil {
		faults = append(faults, FieldError{"currency", "is not in ISO 4217"})
	}
	if !printable(in.Card, maxCard) {
		faults = append(faults, FieldError{"card", fmt.Sprintf("must be a card token of 1 to %d characters", maxCard)})
	}
	if !printable(in.MerchantReference, maxReference) {
		faults = append(faults, FieldError{"merchant_reference", fmt.Sprintf("must be 1 to %d visible ASCII characters", maxReference)})
	}
	return request{
		kind: Authorize, amount: in.Amount, currency: in.Currency, card: in.Card, reference: in.MerchantReference,
	}, faulty(faults)
}

func readAmount(kind Kind) func(*http.Request) (request, error) {
	return func(r *http.Request) (request, error) {
		var in AmountRequest
		if err := decode(r, &in); err != nil {
			return request{}, err
		}
		return request{kind: kind, amount: in.Amount}, faulty(checkAmount(nil, in.Amount))
	}
}

// readVoid takes an empty object or no body at all.
func readVoid(r *http.Request) (request, error) {
	if r.ContentLength != 0 {
		if err := decode(r, &struct{}{}); err != nil {
			return request{}, err
		}
	}
	return request{kind: Void}, nil
}

func checkAmount(faults []FieldError, amount int64) []FieldError {
	if amount < 1 || amount > MaxAmount {
		faults = append(faults, FieldError{"amount", fmt.Sprintf("must be 1 to %d minor units", MaxAmount)})
	}
	return faults
}

func faulty(faults []FieldError) error {
	if len(faults) == 0 {
		return nil
	}
	p := errInvalid("see errors")
	p.Errors = faults
	return p
}

func errInvalid(format string, args ...any) *Problem {
	return newProblem(http.StatusBadRequest, "invalid-request", "The request is faulty", format, args...)
}

func decode(r *http.Request, v any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			p := errInvalid("a body may have %d bytes", maxBody)
			p.Status = http.StatusRequestEntityTooLarge
			return p
		}
		return errInvalid("the body is not the JSON that is expected: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errInvalid("there is something after the end of the JSON")
	}
	return nil
}
