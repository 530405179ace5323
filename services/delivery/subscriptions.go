package delivery

import (
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

// subscriptions is what delivery hears of: food that is ready.
func (s *Service) subscriptions() []topic.Subscription {
	return []topic.Subscription{{
		Topic: cloudevent.Topic("restaurant"), Stream: restaurantapi.Stream, Schedule: topic.Standard, Handler: s.onRestaurant,
		Types: []string{restaurantapi.TypeTicketReady},
	}}
}
