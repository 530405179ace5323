package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/mux"

	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// The comments with which a stream ends.
const (
	endedComment   = "the order has ended"
	slowComment    = "too slow, reconnect"
	lostComment    = "events may have been missed, reconnect"
	closingComment = "closing, reconnect"
	agedComment    = "open for long enough, reconnect"
)

// handleKitchenLive streams what happens at a restaurant.
func (s *Service) handleKitchenLive(w http.ResponseWriter, r *http.Request) error {
	restaurant, caller := mux.Vars(r)["restaurant"], web.Caller(r)
	if caller.Role == web.RoleKitchen && caller.Restaurant != restaurant {
		return problem.New(problem.Forbidden, "the account is of another restaurant")
	}
	return s.stream(w, r, restaurantKey(restaurant), nil)
}

// handleCourierLive streams what a courier is offered and what becomes of what they carry.
func (s *Service) handleCourierLive(w http.ResponseWriter, r *http.Request) error {
	caller := web.Caller(r)
	return s.stream(w, r, courierKey(caller.Subject), func(ctx context.Context) {
		// The assignment may be older than this process. If that can't be had, the courier hears of the food at
		// the next look: no reason to refuse the stream.
		h := http.Header{}
		caller.Set(h)
		var view deliveryapi.CourierView
		err := s.invoker.Invoke(ctx, sidecar.Call{App: deliveryapi.App, Method: get, Path: "/v1/couriers/me", Out: &view, Header: h})
		if err == nil && view.Delivery != nil {
			s.hub.carries(view.Delivery.OrderID, caller.Subject)
		}
	})
}

// stream sends what the hub has for key until the client leaves, reads too slowly, or must look again. opened is
// called once nothing is missed any more, before the answer.
func (s *Service) stream(w http.ResponseWriter, r *http.Request, key string, opened func(context.Context)) error {
	leave, err := s.streams.enter(web.Caller(r).Subject)
	if err != nil {
		return err
	}
	defer leave()
	l := s.hub.listen(key)
	defer s.hub.leave(l)
	if opened != nil {
		opened(r.Context())
	}
	out, err := openStream(w)
	if err != nil {
		return nil //nolint:nilerr // the client has gone
	}
	beat := time.NewTicker(s.cfg.Heartbeat)
	defer beat.Stop()
	age := time.NewTimer(s.cfg.StreamAge)
	defer age.Stop()
	for {
		select {
		case <-r.Context().Done():
			return nil
		case <-age.C:
			return finish(out, agedComment)
		case <-s.closing:
			return finish(out, closingComment)
		case <-beat.C:
			out.comment("")
		case f, ok := <-l.frames:
			for more := true; more; f, ok, more = next(l) {
				switch {
				case !ok:
					return finish(out, slowComment)
				case f.lost:
					return finish(out, lostComment)
				}
				out.write(f.wire(false))
			}
		}
		if out.flush() != nil {
			return nil
		}
	}
}

// next takes another frame if there is one, so that several are sent in one go.
func next(l *listener) (f frame, ok, more bool) {
	select {
	case f, ok = <-l.frames:
		return f, ok, true
	default:
		return frame{}, true, false
	}
}

func finish(out *eventStream, comment string) error {
	out.comment(comment)
	_ = out.flush() // the stream ends either way
	return nil
}

// handleOrderLive streams what happens to an order: first what Last-Event-ID says is missing, then what comes. The
// order's own events come each once and in order, and the stream ends with the last.
func (s *Service) handleOrderLive(w http.ResponseWriter, r *http.Request) error {
	after, err := lastEventID(r)
	if err != nil {
		return err
	}
	leave, err := s.streams.enter(web.Caller(r).Subject)
	if err != nil {
		return err
	}
	defer leave()
	f := follower{s: s, caller: web.Caller(r), order: mux.Vars(r)["order"], last: after}
	l := s.hub.listen(orderKey(f.order)) // first listen, then ask, so that nothing falls in between
	defer s.hub.leave(l)
	backlog, err := f.catchUp(r.Context()) // the order service refuses what is not the caller's
	if err != nil {
		return err
	}
	if f.out, err = openStream(w); err != nil {
		return nil //nolint:nilerr // the client has gone
	}
	return f.follow(r.Context(), l, backlog)
}

func lastEventID(r *http.Request) (int, error) {
	ids := r.Header.Values("Last-Event-ID")
	if len(ids) == 0 {
		return 0, nil
	}
	n, err := strconv.Atoi(ids[0])
	if err != nil || n < 0 || n > 1<<20 {
		return 0, problem.New(problem.InvalidRequest, "1 faulty field(s)").
			WithFields(problem.Field{Name: "Last-Event-ID", Reason: "must be the id of an event of this stream"})
	}
	return n, nil
}

// follower sends one order's stream.
type follower struct {
	s      *Service
	caller web.Identity
	order  string
	out    *eventStream
	last   int // sequence of the last event that was sent
	ended  bool
	heard  bool // since the last heartbeat
}

func (f *follower) follow(ctx context.Context, l *listener, backlog []frame) error {
	beat := time.NewTicker(f.s.cfg.Heartbeat)
	defer beat.Stop()
	age := time.NewTimer(f.s.cfg.StreamAge)
	defer age.Stop()
	f.sendAll(backlog)
	for {
		if f.ended {
			return finish(f.out, endedComment)
		}
		if f.out.flush() != nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-age.C:
			return finish(f.out, agedComment)
		case <-f.s.closing:
			return finish(f.out, closingComment)
		case <-beat.C:
			f.out.comment("")
			if !f.heard {
				f.mend(ctx) // silence may be the order's or a broken line's; if that can't be told, the next beat will
			}
			f.heard = false
		case fr, ok := <-l.frames:
			for more := true; more && !f.ended; fr, ok, more = next(l) {
				if !ok {
					return finish(f.out, slowComment)
				}
				if !f.take(ctx, fr) {
					return finish(f.out, lostComment)
				}
			}
		}
	}
}

// take sends a frame of the hub, unless it was sent before; if frames before it are missing, those come first. It
// reports whether the stream is whole.
func (f *follower) take(ctx context.Context, fr frame) bool {
	switch {
	case fr.lost:
		return f.mend(ctx)
	case fr.sequence == 0:
		f.out.write(fr.bytes)
	case fr.sequence <= f.last:
	case fr.sequence == f.last+1:
		f.send(fr)
	default:
		return f.mend(ctx) && f.last >= fr.sequence
	}
	return true
}

// mend sends what the order's history has and this stream not. It reports whether that could be had.
func (f *follower) mend(ctx context.Context) bool {
	missing, err := f.catchUp(ctx)
	if err != nil {
		return false
	}
	f.sendAll(missing)
	return true
}

func (f *follower) sendAll(frames []frame) {
	for _, fr := range frames {
		f.send(fr)
	}
}

func (f *follower) send(fr frame) {
	f.out.write(fr.wire(true))
	f.last, f.heard = fr.sequence, true
	f.ended = f.ended || fr.ends
}

// catchUp fetches the events after the last. When there are none, it looks whether the order has ended.
func (f *follower) catchUp(ctx context.Context) ([]frame, error) {
	h := http.Header{}
	f.caller.Set(h)
	var list struct {
		Events []liveEvent `json:"events"`
	}
	err := f.s.invoker.Invoke(ctx, sidecar.Call{App: orderapi.App, Method: get,
		Path: "/v1/orders/" + f.order + "/events?after=" + strconv.Itoa(f.last), Out: &list, Header: h})
	if err != nil {
		return nil, err
	}
	frames := make([]frame, 0, len(list.Events))
	for _, e := range list.Events {
		if e.Data == nil {
			e.Data = json.RawMessage("{}")
		}
		e.Subject = f.order
		fr, err := newFrame(e)
		if err != nil {
			return nil, problem.Wrap(err, problem.Unavailable, "the order's history can't be read")
		}
		fr.sequence, fr.ends = e.Sequence, ends(e.Type)
		frames = append(frames, fr)
	}
	if len(frames) == 0 {
		o, err := f.s.orders.Get(ctx, f.caller, f.order)
		if err != nil {
			return nil, err
		}
		f.last = min(f.last, o.Version)
		f.ended = o.Status.Terminal() && f.last >= o.Version
	}
	return frames, nil
}
