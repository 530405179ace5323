package restaurant

import (
	"net/http"

	"github.com/gorilla/mux"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

func (s *Service) handleOpen(w http.ResponseWriter, r *http.Request) error {
	var in restaurantapi.OpenRequest
	if err := web.Decode(r, &in); err != nil {
		return err
	}
	t, err := s.open(r.Context(), mux.Vars(r)["order"], in)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, restaurantapi.OpenResult{Status: t.Status, Reason: t.Reason})
}

func (s *Service) handleCancel(w http.ResponseWriter, r *http.Request) error {
	var in restaurantapi.CancelRequest
	if err := web.Decode(r, &in); err != nil {
		return err
	}
	t, err := s.cancel(r.Context(), mux.Vars(r)["order"], in.Reason)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, restaurantapi.CancelResult{Status: t.Status})
}

func (s *Service) handleGet(w http.ResponseWriter, r *http.Request) error {
	order := mux.Vars(r)["order"]
	t, version, err := s.tickets.Load(r.Context(), order)
	if err != nil {
		return err
	}
	if version == 0 || t.Barred {
		return problem.New(problem.NotFound, "there is no ticket %s", order)
	}
	return web.JSON(w, http.StatusOK, t.Ticket)
}

// kitchen gives the restaurant for which the caller cooks.
func kitchen(r *http.Request) (string, error) {
	who := web.Caller(r)
	if who.Role != web.RoleKitchen || who.Restaurant == "" {
		return "", problem.New(problem.Forbidden, "this is for kitchens")
	}
	return who.Restaurant, nil
}

func (s *Service) handleAccept(w http.ResponseWriter, r *http.Request) error {
	restaurant, err := kitchen(r)
	if err != nil {
		return err
	}
	var in restaurantapi.AcceptRequest
	if err := web.Decode(r, &in); err != nil {
		return err
	}
	t, err := s.accept(r.Context(), restaurant, mux.Vars(r)["order"], in.PrepMinutes)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, t.Ticket)
}

func (s *Service) handleReject(w http.ResponseWriter, r *http.Request) error {
	restaurant, err := kitchen(r)
	if err != nil {
		return err
	}
	var in restaurantapi.RejectRequest
	if err := web.Decode(r, &in); err != nil {
		return err
	}
	t, err := s.reject(r.Context(), restaurant, mux.Vars(r)["order"], in.Reason)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, t.Ticket)
}

func (s *Service) handleReady(w http.ResponseWriter, r *http.Request) error {
	restaurant, err := kitchen(r)
	if err != nil {
		return err
	}
	t, err := s.ready(r.Context(), restaurant, mux.Vars(r)["order"])
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, t.Ticket)
}

// own gives the restaurant of the path if the caller may act for it.
func own(r *http.Request) (string, error) {
	who, restaurant := web.Caller(r), mux.Vars(r)["restaurant"]
	if who.Role == web.RoleOperator || who.Role == web.RoleKitchen && who.Restaurant == restaurant {
		return restaurant, nil
	}
	return "", problem.New(problem.Forbidden, "this is for the kitchen of %s", restaurant)
}

func (s *Service) handleList(w http.ResponseWriter, r *http.Request) error {
	restaurant, err := own(r)
	if err != nil {
		return err
	}
	state := restaurantapi.Status(r.URL.Query().Get("state"))
	switch state {
	case "", restaurantapi.Open, restaurantapi.Accepted, restaurantapi.Ready:
	default:
		return problem.New(problem.InvalidRequest, "1 faulty field(s)").
			WithFields(problem.Field{Name: "state", Reason: "must be one of: open, accepted, ready"})
	}
	b, _, err := s.readBoard(r.Context(), restaurant)
	if err != nil {
		return err
	}
	var orders []string
	for _, e := range b.Tickets {
		if state == "" || e.Status == state {
			orders = append(orders, e.OrderID)
		}
	}
	tickets, err := s.tickets.LoadMany(r.Context(), orders)
	if err != nil {
		return err
	}
	out := restaurantapi.TicketList{Tickets: []restaurantapi.Ticket{}}
	for _, t := range tickets {
		if state == "" || t.Status == state { // it may have moved on between the two reads
			out.Tickets = append(out.Tickets, t.Ticket)
		}
	}
	return web.JSON(w, http.StatusOK, out)
}

func (s *Service) handleHours(w http.ResponseWriter, r *http.Request) error {
	restaurant, err := own(r)
	if err != nil {
		return err
	}
	var in restaurantapi.Hours
	if err := web.Decode(r, &in); err != nil {
		return err
	}
	if err := checkHours(in); err != nil {
		return err
	}
	b, err := s.set(r.Context(), restaurant, func(b *board) { b.Hours = in })
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, b.kitchen())
}

func (s *Service) handleCapacity(w http.ResponseWriter, r *http.Request) error {
	restaurant, err := own(r)
	if err != nil {
		return err
	}
	var in restaurantapi.Capacity
	if err := web.Decode(r, &in); err != nil {
		return err
	}
	b, err := s.set(r.Context(), restaurant, func(b *board) { b.Capacity, b.Paused = in.Capacity, in.Paused })
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, b.kitchen())
}
