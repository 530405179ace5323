package payment

import (
	"context"
	"net/http"

	"github.com/gorilla/mux"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
)

func (s *Service) handleAuthorize(w http.ResponseWriter, r *http.Request) error {
	var req paymentapi.AuthorizeRequest
	if err := web.Decode(r, &req); err != nil {
		return err
	}
	return s.command(w, r, paymentapi.StepAuthorize, s.authorize(req))
}

func (s *Service) handleCapture(w http.ResponseWriter, r *http.Request) error {
	return s.command(w, r, paymentapi.StepCapture, s.capture)
}

func (s *Service) handleVoid(w http.ResponseWriter, r *http.Request) error {
	return s.command(w, r, paymentapi.StepVoid, s.void)
}

func (s *Service) handleRefund(w http.ResponseWriter, r *http.Request) error {
	var req paymentapi.RefundRequest
	if r.ContentLength != 0 {
		if err := web.Decode(r, &req); err != nil {
			return err
		}
	}
	return s.command(w, r, paymentapi.StepRefund, s.refund(req.Reason))
}

// command runs a step of the order in the path. Its idempotency key must be that of the step: anything else is a
// mix-up of the caller's.
func (s *Service) command(w http.ResponseWriter, r *http.Request, step paymentapi.Step, do decide) error {
	order, err := orderID(r)
	if err != nil {
		return err
	}
	key, err := web.IdempotencyKey(r)
	if err != nil {
		return err
	}
	if want := paymentapi.Key(order, step); key != want {
		return problem.New(problem.ReusedKey, "the key of this step is %s, not %s", want, key)
	}
	result, err := s.execute(r.Context(), order, do)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, result)
}

func (s *Service) handleInternalGet(w http.ResponseWriter, r *http.Request) error {
	order, err := orderID(r)
	if err != nil {
		return err
	}
	p, err := s.payment(r.Context(), order)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, p)
}

// handleGet shows a payment to operators and to the customer who paid. To others it does not exist.
func (s *Service) handleGet(w http.ResponseWriter, r *http.Request) error {
	order, err := orderID(r)
	if err != nil {
		return err
	}
	caller := web.Caller(r)
	if caller.Role != web.RoleOperator && caller.Role != web.RoleCustomer {
		return problem.New(problem.Forbidden, "payments are shown to operators and to the customer who paid")
	}
	p, err := s.payment(r.Context(), order)
	if err != nil {
		return err
	}
	if caller.Role != web.RoleOperator && (caller.Subject == "" || p.CustomerID != caller.Subject) {
		return notFound(order)
	}
	return web.JSON(w, http.StatusOK, p)
}

func (s *Service) payment(ctx context.Context, order string) (paymentapi.Payment, error) {
	a, version, events, err := s.history(ctx, order)
	if err != nil {
		return paymentapi.Payment{}, err
	}
	if version == 0 {
		return paymentapi.Payment{}, notFound(order)
	}
	p := paymentapi.Payment{
		OrderID: order, CustomerID: a.CustomerID, RestaurantID: a.RestaurantID, Status: a.Status, Reason: a.Reason,
		Currency: a.Currency, Amount: a.Amount, Card: a.Card, Version: version,
		Journal: make([]paymentapi.Entry, 0, len(events)),
	}
	for _, e := range events {
		var data paymentapi.Event
		if err := paymentapi.Events.Into(e, &data); err != nil {
			return p, err
		}
		p.Journal = append(p.Journal, paymentapi.Entry{
			Sequence: e.Seq(), Type: e.Name(), Time: e.Time, Amount: data.Amount,
			AcquirerReference: data.AcquirerReference, Reason: data.Reason, Postings: data.Lines(),
		})
	}
	p.Balances = balances(p.Journal)
	return p, nil
}

func notFound(order string) error {
	return problem.New(problem.NotFound, "there is no payment of order %s", order)
}

// orderID takes the order from the path. It becomes part of keys here and at the acquirer, so that only letters,
// digits, - and _ are let in.
func orderID(r *http.Request) (string, error) {
	id := mux.Vars(r)["order"]
	ok := id != "" && len(id) <= 64
	for _, c := range id {
		ok = ok && (c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_')
	}
	if !ok {
		return "", problem.New(problem.InvalidRequest, "1 faulty field(s)").
			WithFields(problem.Field{Name: "order", Reason: "must be the id of an order"})
	}
	return id, nil
}
