package delivery

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/eventstore"
)

// delivery is the aggregate. A barred one was released before it was asked for.
type delivery struct {
	deliveryapi.Parties
	Status      deliveryapi.Status   `json:"status"`
	Barred      bool                 `json:"barred,omitempty"`
	Reason      string               `json:"reason,omitempty"`
	Pickup      deliveryapi.Place    `json:"pickup"`
	Dropoff     deliveryapi.Place    `json:"dropoff"`
	CourierNote string               `json:"courier_note,omitempty"`
	RequestedAt time.Time            `json:"requested_at"`
	Deadline    time.Time            `json:"deadline"` // of the search
	Offer       *standing            `json:"offer,omitempty"`
	Declined    []string             `json:"declined,omitempty"` // couriers not to be asked again
	Missed      map[string]time.Time `json:"missed,omitempty"`   // couriers who let an offer expire, and when
	CourierID   string               `json:"courier_id,omitempty"`
	ETA         time.Time            `json:"eta,omitzero"`
	AssignedAt  time.Time            `json:"assigned_at,omitzero"`
	PickedUpAt  time.Time            `json:"picked_up_at,omitzero"`
	DeliveredAt time.Time            `json:"delivered_at,omitzero"`
}

// standing is an offer that was neither declined nor found to be expired yet.
type standing struct {
	CourierID string    `json:"courier_id"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (d delivery) searching() bool { return d.Status == deliveryapi.Requested }

// waiting says that the search has nobody to ask.
func (d delivery) waiting() bool { return d.searching() && d.Offer == nil }

// may says whether a courier may be asked: not if they said no, and not right after they did not answer.
func (d delivery) may(courier string, now time.Time, pause time.Duration) bool {
	if slices.Contains(d.Declined, courier) {
		return false
	}
	missed, ok := d.Missed[courier]
	return !ok || now.Sub(missed) >= pause
}

// apply implements eventstore.Options.Apply.
func apply(d delivery, e cloudevent.Event) (delivery, error) {
	into := func(v any) bool { return e.Into(v) == nil }
	ok := true
	switch e.Name() {
	case deliveryapi.TypeRequested:
		var v deliveryapi.RequestedData
		ok = into(&v)
		d = delivery{Parties: v.Parties, Status: deliveryapi.Requested, Pickup: v.Pickup, Dropoff: v.Dropoff,
			CourierNote: v.CourierNote, RequestedAt: e.Time, Deadline: v.Deadline}
	case deliveryapi.TypeOffered:
		var v deliveryapi.OfferedData
		ok = into(&v)
		d.Offer = &standing{CourierID: v.CourierID, ExpiresAt: v.ExpiresAt}
	case deliveryapi.TypeOfferDeclined:
		var v deliveryapi.OfferEndedData
		ok = into(&v)
		d.Offer, d.Declined = nil, append(slices.Clone(d.Declined), v.CourierID)
	case deliveryapi.TypeOfferExpired:
		var v deliveryapi.OfferEndedData
		ok = into(&v)
		missed := map[string]time.Time{v.CourierID: e.Time}
		maps.Copy(missed, without(d.Missed, v.CourierID))
		d.Offer, d.Missed = nil, missed
	case deliveryapi.TypeCourierAssigned:
		var v deliveryapi.CourierAssignedData
		ok = into(&v)
		d.Status, d.Offer, d.CourierID, d.ETA, d.AssignedAt = deliveryapi.Assigned, nil, v.CourierID, v.ETA, e.Time
	case deliveryapi.TypeCourierUnavailable:
		var v deliveryapi.CourierUnavailableData
		ok = into(&v)
		d.Status, d.Offer, d.Reason = deliveryapi.Unavailable, nil, v.Reason
	case deliveryapi.TypeReleased:
		var v deliveryapi.ReleasedData
		ok = into(&v)
		d.Status, d.Offer, d.Reason = deliveryapi.Released, nil, v.Reason
	case deliveryapi.TypeBarred:
		var v deliveryapi.BarredData
		ok = into(&v)
		d = delivery{Parties: deliveryapi.Parties{OrderID: v.OrderID}, Status: deliveryapi.Released, Barred: true, Reason: v.Reason}
	case deliveryapi.TypePickedUp:
		var v deliveryapi.PickedUpData
		ok = into(&v)
		d.Status, d.ETA, d.PickedUpAt = deliveryapi.PickedUp, v.ETA, e.Time
	case deliveryapi.TypeDelivered:
		d.Status, d.DeliveredAt = deliveryapi.Delivered, e.Time
	default:
		return d, fmt.Errorf("unknown event type %s", e.Type)
	}
	if !ok {
		return d, fmt.Errorf("the data of %s %s can't be read", e.Type, e.ID)
	}
	return d, nil
}

func without(m map[string]time.Time, key string) map[string]time.Time {
	m = maps.Clone(m)
	delete(m, key)
	return m
}

// happen adds an event to a plan and moves the plan's delivery on, so that what is decided next builds on it.
func (p *plan) happen(kind string, data any) error {
	raw, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	p.d, err = apply(p.d, cloudevent.Event{Type: cloudevent.Prefix + kind, Time: p.now, Data: raw})
	p.change.Events = append(p.change.Events, eventstore.Event{Type: kind, Data: json.RawMessage(raw)})
	return err
}
