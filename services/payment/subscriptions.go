package payment

import (
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// subscriptions is what payment hears of: an order that is delivered is paid out.
func (s *Service) subscriptions() []topic.Subscription {
	return []topic.Subscription{{
		Topic: cloudevent.Topic("order"), Schedule: topic.Money, Handler: s.onOrderEvent,
		Types: []string{orderapi.EventDelivered},
	}}
}
