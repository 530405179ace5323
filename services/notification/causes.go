package notification

import (
	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/notification/notificationapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
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

// Channels are those by which the customer of an event is told of it, as far as the customer wants them; none if of no
// concern. The audit holds the service to it.
func Channels(eventType string) []string { return causes[eventType] }

// fact is what is read of an event's payload, whatever its type; fields that a type lacks stay empty.
type fact struct {
	OrderID        string          `json:"order_id"`
	CustomerID     string          `json:"customer_id"`
	RestaurantName string          `json:"restaurant_name"`
	Items          []orderapi.Item `json:"items"`
	Currency       string          `json:"currency"`
	Total          int64           `json:"total"`
	DeliveryFee    int64           `json:"delivery_fee"`
	SurgeFee       int64           `json:"surge_fee"`
	Discount       int64           `json:"discount"`
	Amount         int64           `json:"amount"`
	PrepMinutes    int             `json:"prep_minutes"`
	Status         string          `json:"status"`
	Reason         string          `json:"reason"`
	Detail         string          `json:"detail"`
}
