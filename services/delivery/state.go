package delivery

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/contract"
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
	into := func(v proto.Message) error { return deliveryapi.Events.Into(e, v) }
	var err error
	switch e.Name() {
	case deliveryapi.TypeRequested:
		var v deliveryapi.RequestedData
		err = into(&v)
		d = delivery{Parties: deliveryapi.Parties{OrderID: v.OrderId, CustomerID: v.CustomerId, RestaurantID: v.RestaurantId},
			Status: deliveryapi.Requested, Pickup: v.Pickup.Place(), Dropoff: v.Dropoff.Place(),
			CourierNote: v.CourierNote, RequestedAt: e.Time, Deadline: contract.Time(v.Deadline)}
	case deliveryapi.TypeOffered:
		var v deliveryapi.OfferedData
		err = into(&v)
		d.Offer = &standing{CourierID: v.CourierId, ExpiresAt: contract.Time(v.ExpiresAt)}
	case deliveryapi.TypeOfferDeclined:
		var v deliveryapi.OfferEndedData
		err = into(&v)
		d.Offer, d.Declined = nil, append(slices.Clone(d.Declined), v.CourierId)
	case deliveryapi.TypeOfferExpired:
		var v deliveryapi.OfferEndedData
		err = into(&v)
		missed := map[string]time.Time{v.CourierId: e.Time}
		maps.Copy(missed, without(d.Missed, v.CourierId))
		d.Offer, d.Missed = nil, missed
	case deliveryapi.TypeCourierAssigned:
		var v deliveryapi.CourierAssignedData
		err = into(&v)
		d.Status, d.Offer, d.CourierID, d.ETA, d.AssignedAt = deliveryapi.Assigned, nil, v.CourierId, contract.Time(v.Eta), e.Time
	case deliveryapi.TypeCourierUnavailable:
		var v deliveryapi.CourierUnavailableData
		err = into(&v)
		d.Status, d.Offer, d.Reason = deliveryapi.Unavailable, nil, v.Reason
	case deliveryapi.TypeReleased:
		var v deliveryapi.ReleasedData
		err = into(&v)
		d.Status, d.Offer, d.Reason = deliveryapi.Released, nil, v.Reason
	case deliveryapi.TypeBarred:
		var v deliveryapi.BarredData
		err = into(&v)
		d = delivery{Parties: deliveryapi.Parties{OrderID: v.OrderId}, Status: deliveryapi.Released, Barred: true, Reason: v.Reason}
	case deliveryapi.TypePickedUp:
		var v deliveryapi.PickedUpData
		err = into(&v)
		d.Status, d.ETA, d.PickedUpAt = deliveryapi.PickedUp, contract.Time(v.Eta), e.Time
	case deliveryapi.TypeDelivered:
		d.Status, d.DeliveredAt = deliveryapi.Delivered, e.Time
	default:
		return d, fmt.Errorf("unknown event type %s", e.Type)
	}
	return d, err
}

func without(m map[string]time.Time, key string) map[string]time.Time {
	m = maps.Clone(m)
	delete(m, key)
	return m
}

// happen adds an event to a plan and moves the plan's delivery on, so that what is decided next builds on it.
func (p *plan) happen(kind string, data proto.Message) error {
	schema, raw, err := deliveryapi.Events.Encode(kind, data)
	if err != nil {
		return err
	}
	p.d, err = apply(p.d, cloudevent.Event{Type: cloudevent.Prefix + kind, Time: p.now, DataSchema: schema, Data: raw})
	p.change.Events = append(p.change.Events, eventstore.Event{Type: kind, Data: data})
	return err
}
