package notification

import (
	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// subscriptions is what people are told of (causes.go says who and how), and how they can be reached.
func (s *Service) subscriptions() []topic.Subscription {
	return []topic.Subscription{
		{
			Topic: cloudevent.Topic("user"), Schedule: topic.Standard, Handler: s.onUserEvent,
			Types: []string{userapi.EventRegistered, userapi.EventPreferencesChanged},
		},
		{
			Topic: cloudevent.Topic("order"), Schedule: topic.Standard, Handler: s.onEvent,
			Types: []string{orderapi.EventPlaced, orderapi.EventAccepted, orderapi.EventPickedUp, orderapi.EventDelivered,
				orderapi.EventRejected, orderapi.EventCancelled, orderapi.EventFailed},
		},
		{
			Topic: cloudevent.Topic("delivery"), Schedule: topic.Standard, Handler: s.onEvent,
			Types: []string{deliveryapi.TypeCourierAssigned},
		},
		{
			Topic: cloudevent.Topic("payment"), Schedule: topic.Standard, Handler: s.onEvent,
			Types: []string{paymentapi.EventRefunded},
		},
	}
}
