package analytics

import (
	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// subscriptions is what is counted; model.go says what becomes of each.
func (s *Service) subscriptions() []topic.Subscription {
	return []topic.Subscription{
		{
			Topic: cloudevent.Topic("order"), Schedule: topic.Standard, Handler: s.onEvent,
			Types: []string{orderapi.EventPlaced, orderapi.EventAccepted, orderapi.EventPickedUp, orderapi.EventDelivered,
				orderapi.EventRejected, orderapi.EventCancelled, orderapi.EventFailed},
		},
		{
			Topic: cloudevent.Topic("payment"), Schedule: topic.Standard, Handler: s.onEvent,
			Types: []string{paymentapi.EventCaptured, paymentapi.EventRefunded},
		},
		{
			Topic: cloudevent.Topic("restaurant"), Stream: restaurantapi.Stream, Schedule: topic.Standard, Handler: s.onEvent,
			Types: []string{restaurantapi.TypeTicketReady},
		},
		{
			Topic: cloudevent.Topic("delivery"), Schedule: topic.Standard, Handler: s.onEvent,
			Types: []string{deliveryapi.TypeCourierAssigned},
		},
		{
			Topic: cloudevent.Topic("user"), Schedule: topic.Standard, Handler: s.onEvent,
			Types: []string{userapi.EventRegistered},
		},
	}
}
