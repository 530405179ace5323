package acquirer

import (
	"encoding/json"
	"net/http"
)

// Status is where an authorization stands: authorized, then captured or voided; or declined from the start.
type Status string

// The states of an authorization, and what the answers of captures and refunds say.
const (
	StatusAuthorized Status = "authorized"
	StatusDeclined   Status = "declined"
	StatusCaptured   Status = "captured"
	StatusVoided     Status = "voided"
	StatusRefunded   Status = "refunded"
)

type authorization struct {
	id, reference, currency, card string
	scenario                      Scenario
	amount                        int64
	status                        Status
}

type capture struct {
	id, authorization string
	amount, refunded  int64
}

// state is what the book amounts to. decide reads it, apply is the only one to change it, and both starting
// and running go through apply, so that a restart can't differ from what went before.
type state struct {
	sequence       int64
	authorizations map[string]*authorization
	captures       map[string]*capture
	byKey          map[string]Operation
	unavailable    map[string]int // failed attempts to authorize by merchant reference
	totals         Totals
}

// Totals sum up the approved operations, in minor units over all currencies.
type Totals struct {
	Operations                             int64
	Authorized, Captured, Voided, Refunded int64
	Declined                               int64 // a count
}

func newState() *state {
	return &state{
		authorizations: map[string]*authorization{},
		captures:       map[string]*capture{},
		byKey:          map[string]Operation{},
		unavailable:    map[string]int{},
	}
}

// request is a validated call of a merchant.
type request struct {
	kind        Kind
	key         string
	fingerprint string
	target      string // id of the authorization or capture that it is about
	amount      int64
	currency    string
	card        string
	reference   string
}

// AuthorizationAnswer answers an authorization and a void.
type AuthorizationAnswer struct {
	ID                string `json:"id"`
	Status            Status `json:"status"`
	Reason            string `json:"reason,omitempty"`
	Amount            int64  `json:"amount"`
	Currency          string `json:"currency"`
	MerchantReference string `json:"merchant_reference"`
}

// CaptureAnswer answers a capture.
type CaptureAnswer struct {
	ID              string `json:"id"`
	AuthorizationID string `json:"authorization_id"`
	Status          Status `json:"status"`
	Amount          int64  `json:"amount"`
	Currency        string `json:"currency"`
}

// RefundAnswer answers a refund. RefundedTotal is what was given back of the capture so far.
type RefundAnswer struct {
	ID            string `json:"id"`
	CaptureID     string `json:"capture_id"`
	Status        Status `json:"status"`
	Amount        int64  `json:"amount"`
	RefundedTotal int64  `json:"refunded_total"`
	Currency      string `json:"currency"`
}

// scenarioFor finds the scenario that governs a request: that of its card.
func (s *state) scenarioFor(r request) Scenario {
	if r.kind == Authorize {
		return scenarioOf(r.card)
	}
	id := r.target
	if r.kind == Refund {
		if c := s.captures[id]; c != nil {
			id = c.authorization
		}
	}
	if a := s.authorizations[id]; a != nil {
		return a.scenario
	}
	return Approve
}

// decide says what becomes of a request, without changing anything. newID names what comes into being. An
// error is a request that leaves no trace in the book.
func (s *state) decide(r request, newID func(prefix string) string) (Operation, error) {
	op := Operation{
		Sequence: s.sequence + 1, Kind: r.kind, Outcome: Approved,
		IdempotencyKey: r.key, Fingerprint: r.fingerprint, Amount: r.amount,
	}
	switch r.kind {
	case Authorize:
		return s.decideAuthorize(op, r, newID), nil
	case Capture, Void:
		a := s.authorizations[r.target]
		if a == nil {
			return op, errNotFound("authorization", r.target)
		}
		op.of(a)
		if r.kind == Void {
			return decideVoid(op, a), nil
		}
		return decideCapture(op, a, newID), nil
	default:
		c := s.captures[r.target]
		if c == nil {
			return op, errNotFound("capture", r.target)
		}
		op.of(s.authorizations[c.authorization])
		return decideRefund(op, c, newID), nil
	}
}

// of fills in what an operation inherits from its authorization.
func (o *Operation) of(a *authorization) {
	o.AuthorizationID, o.MerchantReference = a.id, a.reference
	o.Currency, o.Card, o.Scenario = a.currency, a.card, a.scenario
}

func (s *state) decideAuthorize(op Operation, r request, newID func(string) string) Operation {
	op.MerchantReference, op.Currency = r.reference, r.currency
	op.Card, op.Scenario = mask(r.card), scenarioOf(r.card)
	if s.unavailable[r.reference] < op.Scenario.unavailableTimes() {
		op.Outcome = Unavailable
		return op
	}
	op.AuthorizationID = newID("aut_")
	status := StatusAuthorized
	if op.Reason = op.Scenario.declineReason(); op.Reason != "" {
		op.Outcome, status = Declined, StatusDeclined
	}
	return op.answer(http.StatusCreated, AuthorizationAnswer{
		ID: op.AuthorizationID, Status: status, Reason: op.Reason,
		Amount: op.Amount, Currency: op.Currency, MerchantReference: op.MerchantReference,
	})
}

func decideVoid(op Operation, a *authorization) Operation {
	op.Amount = a.amount
	if a.status != StatusAuthorized {
		return op.refuse("authorization %s is %s and can't be voided", a.id, a.status)
	}
	return op.answer(http.StatusOK, AuthorizationAnswer{
		ID: a.id, Status: StatusVoided, Amount: a.amount, Currency: a.currency, MerchantReference: a.reference,
	})
}

func decideCapture(op Operation, a *authorization, newID func(string) string) Operation {
	again := a.status == StatusCaptured && !idempotent // an acquirer without keys takes the money twice
	switch {
	case a.status != StatusAuthorized && !again:
		return op.refuse("authorization %s is %s and can't be captured", a.id, a.status)
	case op.Amount > a.amount:
		return op.refuse("authorization %s holds %d, less than %d", a.id, a.amount, op.Amount)
	}
	op.CaptureID = newID("cap_")
	return op.answer(http.StatusCreated, CaptureAnswer{
		ID: op.CaptureID, AuthorizationID: a.id, Status: StatusCaptured, Amount: op.Amount, Currency: op.Currency,
	})
}

func decideRefund(op Operation, c *capture, newID func(string) string) Operation {
	op.CaptureID = c.id
	if left := c.amount - c.refunded; op.Amount > left {
		return op.refuse("capture %s has %d left to refund, less than %d", c.id, left, op.Amount)
	}
	op.RefundID = newID("rfd_")
	return op.answer(http.StatusCreated, RefundAnswer{
		ID: op.RefundID, CaptureID: c.id, Status: StatusRefunded, Amount: op.Amount,
		RefundedTotal: c.refunded + op.Amount, Currency: op.Currency,
	})
}

func (o Operation) refuse(format string, args ...any) Operation {
	p := errIllegal(format, args...)
	o.Outcome, o.Reason = Refused, p.Detail
	return o.answer(p.Status, p)
}

// answer records what the merchant is told. The answers are structs of strings and numbers: they marshal.
func (o Operation) answer(status int, v any) Operation {
	o.Status = status
	o.Answer, _ = json.Marshal(v)
	return o
}

// apply makes an operation part of the state.
func (s *state) apply(op Operation) {
	s.sequence = op.Sequence
	s.totals.Operations++
	if op.recorded() {
		s.byKey[op.IdempotencyKey] = op
	}
	switch op.Outcome {
	case Unavailable:
		s.unavailable[op.MerchantReference]++
	case Declined:
		s.totals.Declined++
		s.authorizations[op.AuthorizationID] = op.authorization(StatusDeclined)
	case Approved:
		s.applyApproved(op)
	}
}

func (s *state) applyApproved(op Operation) {
	switch op.Kind {
	case Authorize:
		s.totals.Authorized += op.Amount
		s.authorizations[op.AuthorizationID] = op.authorization(StatusAuthorized)
	case Capture:
		s.totals.Captured += op.Amount
		s.authorizations[op.AuthorizationID].status = StatusCaptured
		s.captures[op.CaptureID] = &capture{id: op.CaptureID, authorization: op.AuthorizationID, amount: op.Amount}
	case Void:
		s.totals.Voided += op.Amount
		s.authorizations[op.AuthorizationID].status = StatusVoided
	case Refund:
		s.totals.Refunded += op.Amount
		s.captures[op.CaptureID].refunded += op.Amount
	}
}

func (o Operation) authorization(status Status) *authorization {
	return &authorization{
		id: o.AuthorizationID, reference: o.MerchantReference, currency: o.Currency,
		card: o.Card, scenario: o.Scenario, amount: o.Amount, status: status,
	}
}
