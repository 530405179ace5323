package pricingapi

import "github.com/dishmesh/dishmesh/services/internal/contract"

// SurgeChangedEvent is the type of the event on topic fooddelivery.pricing, without the common prefix. The
// subject is the zone.
const SurgeChangedEvent = "pricing.surge-changed"

// Zone is the only zone of the town.
const Zone = "town"

// Events is the contract of the pricing's events.
var Events = contract.Must(contract.One[*SurgeChanged](SurgeChangedEvent))
