package notification

import (
	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/contract"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/notification/notificationapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi/orderv2"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// causes says who is told of what, and how: always the customer, by those of these channels that the customer
// wants. Every line has its templates; a test holds that.
var causes = map[string][]string{
	userapi.EventRegistered:         {notificationapi.Email}, // customers only
	orderapi.EventPlaced:            {notificationapi.Email, notificationapi.Push},
	orderapi.EventAccepted:          {notificationapi.Push},
	deliveryapi.TypeCourierAssigned: {notificationapi.Push},
	orderapi.EventPickedUp:          {notificationapi.Push, notificationapi.SMS},
	orderapi.EventDelivered:         {notificationapi.Email, notificationapi.Push},
	orderapi.EventRejected:          {notificationapi.Email, notificationapi.Push, notificationapi.SMS},
	orderapi.EventCancelled:         {notificationapi.Email, notificationapi.Push, notificationapi.SMS},
	orderapi.EventFailed:            {notificationapi.Email, notificationapi.Push, notificationapi.SMS},
	paymentapi.EventRefunded:        {notificationapi.Email},
}

// heard are the contracts of the orders' events that are told of.
var heard = contract.Union(orderapi.Events, paymentapi.Events, deliveryapi.Events)

// Channels are those by which the customer of an event is told of it, as far as the customer wants them; none if of no
// concern. The audit holds the service to it.
func Channels(eventType string) []string { return causes[eventType] }

// fact is what is read of an event's payload, whatever its type; fields that a type lacks stay empty.
type fact struct {
	OrderID        string
	CustomerID     string
	RestaurantName string
	Items          []orderapi.Item
	Currency       string
	Total          int64
	DeliveryFee    int64
	SurgeFee       int64
	Discount       int64
	Amount         int64
	PrepMinutes    int32
	Status         string
	Reason         string
	Detail         string
}

// factOf reads an event, in whatever version it was written.
func factOf(e cloudevent.Event) (fact, error) {
	m, err := heard.Decode(e)
	if err != nil {
		return fact{}, err
	}
	switch m := m.(type) {
	case *orderapi.PlacedEvent:
		return fact{OrderID: m.OrderId, CustomerID: m.CustomerId, RestaurantName: m.RestaurantName, Items: m.Lines(),
			Currency: m.Currency, Total: m.Total, DeliveryFee: m.DeliveryFee, SurgeFee: m.SurgeFee, Discount: m.Discount}, nil
	case *orderapi.AcceptedEvent:
		return fact{OrderID: m.OrderId, CustomerID: m.CustomerId, PrepMinutes: m.PrepMinutes}, nil
	case *orderapi.PickedUpEvent:
		return fact{OrderID: m.OrderId, CustomerID: m.CustomerId}, nil
	case *orderv2.DeliveredEvent:
		b := m.GetBill()
		return fact{OrderID: m.OrderId, CustomerID: m.CustomerId, Currency: b.GetCurrency(), Total: b.GetTotal(),
			DeliveryFee: b.GetDeliveryFee(), SurgeFee: b.GetSurgeFee(), Discount: b.GetDiscount()}, nil
	case *orderapi.EndedEvent:
		return fact{OrderID: m.OrderId, CustomerID: m.CustomerId, Status: m.Status, Reason: m.Reason, Detail: m.Detail}, nil
	case *paymentapi.Event:
		return fact{OrderID: m.OrderId, CustomerID: m.CustomerId, Amount: m.Amount, Currency: m.Currency, Reason: m.Reason}, nil
	case *deliveryapi.CourierAssignedData:
		return fact{OrderID: m.OrderId, CustomerID: m.CustomerId}, nil
	}
	return fact{}, problem.New(problem.UnknownVersion, "event %s holds a %T, which nobody is told of", e.ID, m)
}
