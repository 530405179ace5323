// Package analyticsapi is the contract of the analytics service: the read models of the operations console.
package analyticsapi

import "time"

// App is the service's Dapr app id.
const App = "analytics"

// Eventual is the consistency of everything that this service answers: it follows the events and lags behind them.
const Eventual = "eventual"

// Summary answers GET /v1/analytics/summary. Amounts are minor units of Currency.
type Summary struct {
	AsOf        *time.Time          `json:"as_of"` // when the newest event that is counted happened; null: none is
	Consistency string              `json:"consistency"`
	Currency    string              `json:"currency"`
	Orders      Orders              `json:"orders"`
	Revenue     Revenue             `json:"revenue"`
	ByDay       []Day               `json:"by_day"`            // newest first
	Restaurants []Restaurant        `json:"by_restaurant"`     // most gross revenue first
	LeadTimes   map[string]LeadTime `json:"lead_time_seconds"` // by interval, such as placed_to_accepted
	Funnel      []FunnelStep        `json:"funnel"`
	Accounts    map[string]int64    `json:"accounts"` // registered, by role
}

// Orders counts orders.
type Orders struct {
	Total    int64            `json:"total"`
	ByStatus map[string]int64 `json:"by_status"`
}

// Revenue is what customers were charged, what of it was paid back, and what is left.
type Revenue struct {
	Gross    int64  `json:"gross"`
	Refunded int64  `json:"refunded"`
	Net      int64  `json:"net"`
	Currency string `json:"currency"`
}

// Day is the revenue from the orders that were placed on a day (UTC).
type Day struct {
	Date     string `json:"date"` // RFC 3339 full-date
	Orders   int64  `json:"orders"`
	Gross    int64  `json:"gross"`
	Refunded int64  `json:"refunded"`
	Net      int64  `json:"net"`
}

// Restaurant is a restaurant's share.
type Restaurant struct {
	RestaurantID string `json:"restaurant_id"`
	Name         string `json:"name,omitempty"`
	Orders       int64  `json:"orders"`
	Delivered    int64  `json:"delivered"`
	Gross        int64  `json:"gross"`
	Refunded     int64  `json:"refunded"`
	Net          int64  `json:"net"`
}

// LeadTime is the distribution of an interval in seconds, exact to 2.5 percent.
type LeadTime struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
}

// FunnelStep is how many orders got as far as a milestone.
type FunnelStep struct {
	Step   string  `json:"step"`
	Orders int64   `json:"orders"`
	Share  float64 `json:"share"` // of the orders placed, 0 to 1
}

// Order is the read model of one order. Times are those of the events.
type Order struct {
	OrderID        string     `json:"order_id"`
	RestaurantID   string     `json:"restaurant_id"`
	RestaurantName string     `json:"restaurant_name,omitempty"`
	Status         string     `json:"status"`
	Reason         string     `json:"reason,omitempty"`
	Currency       string     `json:"currency"`
	Total          int64      `json:"total"`
	Captured       int64      `json:"captured"`
	Refunded       int64      `json:"refunded"`
	PlacedAt       *time.Time `json:"placed_at,omitempty"`
	AcceptedAt     *time.Time `json:"accepted_at,omitempty"`
	AssignedAt     *time.Time `json:"assigned_at,omitempty"`
	ReadyAt        *time.Time `json:"ready_at,omitempty"`
	PickedUpAt     *time.Time `json:"picked_up_at,omitempty"`
	DeliveredAt    *time.Time `json:"delivered_at,omitempty"`
	EndedAt        *time.Time `json:"ended_at,omitempty"`
}

// OrderList answers GET /v1/analytics/orders: the newest first.
type OrderList struct {
	AsOf        *time.Time `json:"as_of"`
	Consistency string     `json:"consistency"`
	Orders      []Order    `json:"orders"`
}
