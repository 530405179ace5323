package pricing

import (
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// subscriptions is what prices follow from. Both handlers change memory alone; the adapter records the events.
func (s *Service) subscriptions() []topic.Subscription {
	return []topic.Subscription{
		{
			Topic: cloudevent.Topic("menu"), Schedule: topic.Standard, Handler: s.takeMenuEvent,
			Types: []string{menuapi.MenuPublished, menuapi.MenuItemChanged},
		},
		{
			Topic: cloudevent.Topic("order"), Schedule: topic.Standard, Handler: s.takeOrderEvent,
			Types: []string{orderapi.EventPlaced, orderapi.EventDelivered, orderapi.EventRejected, orderapi.EventCancelled, orderapi.EventFailed},
		},
	}
}
