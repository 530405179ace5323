package order

import (
	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

// subscriptions is what moves orders on. The saga waits for most of it, and money follows.
func (s *Service) subscriptions() []topic.Subscription {
	return []topic.Subscription{
		{
			Topic: cloudevent.Topic("restaurant"), Stream: restaurantapi.Stream, Schedule: topic.Money, Handler: s.onRestaurant,
			Types: []string{restaurantapi.TypeTicketAccepted, restaurantapi.TypeTicketRejected},
		},
		{
			Topic: cloudevent.Topic("delivery"), Schedule: topic.Money, Handler: s.onDelivery,
			Types: []string{deliveryapi.TypeCourierUnavailable, deliveryapi.TypePickedUp, deliveryapi.TypeDelivered},
		},
	}
}
