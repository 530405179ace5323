package pricingapi

// SurgeChangedEvent is the type of the event on topic fooddelivery.pricing, without the common prefix. The
// subject is the zone.
const SurgeChangedEvent = "pricing.surge-changed"

// Zone is the only zone of the town.
const Zone = "town"

// SurgeChanged is the payload of pricing.surge-changed: the surcharge on delivery fees from now on.
type SurgeChanged struct {
	Zone    string `json:"zone"`
	SurgeBP int64  `json:"surge_bp"`
}
