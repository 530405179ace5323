package gateway

import (
	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/topic"
)

// Subscriptions is what live updates are made of. The gateway has no store and keeps no inbox: every replica hears every
// event from now on, and what a stream missed is read from the order service.
func (s *Service) Subscriptions() []topic.Subscription {
	var subs []topic.Subscription
	for _, entity := range []string{"order", "payment", "restaurant", "delivery", deliveryapi.LocationEntity} {
		subs = append(subs, topic.Subscription{Topic: cloudevent.Topic(entity), Handler: s.hub.handle, Live: true})
	}
	return subs
}
