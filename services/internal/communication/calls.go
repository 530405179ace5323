package communication

import "slices"

// Between is what services ask of each other of their own accord. The table of calls in components/README.md says of each
// how often it is tried and what happens while the callee is away.
func Between() []Call {
	return []Call{
		// A live stream begins with what was missed; a token is checked against the published keys.
		{Gateway, "user", []Request{{get, "/.well-known/jwks.json"}}},
		{Gateway, "order", []Request{{get, "/v1/orders/{order}"}, {get, "/v1/orders/{order}/events"}}},
		{Gateway, "delivery", []Request{{get, "/v1/couriers/me"}}},

		// Placing an order confirms its quote; an order that comes to nothing gives the promotion back.
		{"order", "pricing", []Request{
			{post, "/dishmesh.pricing.v1.PricingService/ConfirmQuote"},
			{post, "/dishmesh.pricing.v1.PricingService/ReleaseQuote"},
		}},

		// The saga of an order: steps and compensations.
		{"order", "payment", []Request{
			{post, "/internal/payments/{order}/authorize"},
			{post, "/internal/payments/{order}/capture"},
			{post, "/internal/payments/{order}/void"},
			{post, "/internal/payments/{order}/refund"},
		}},
		{"order", "restaurant", []Request{
			{post, "/internal/tickets/{order}/open"},
			{post, "/internal/tickets/{order}/cancel"},
		}},
		{"order", "delivery", []Request{
			{post, "/internal/deliveries/{order}/dispatch"},
			{post, "/internal/deliveries/{order}/release"},
		}},

		// A quote needs what the restaurant offers, and for how much.
		{"pricing", "menu", []Request{{post, "/dishmesh.menu.v1.MenuService/LookupMenu"}}},
	}
}

// History is what consumers of events ask of the owner of a stream when they find that they miss some. The gateway's
// live updates are not among them: it keeps no inbox.
func History() []Call {
	var all []Call
	for _, h := range []struct {
		consumer string
		owners   []string
	}{
		{"pricing", []string{"menu", "order"}},
		{"order", []string{"restaurant", "delivery"}},
		{"payment", []string{"order"}},
		{"delivery", []string{"restaurant"}},
		{"notification", []string{"user", "order", "payment", "delivery"}},
		{"analytics", []string{"user", "order", "payment", "restaurant", "delivery"}},
	} {
		for _, owner := range h.owners {
			all = append(all, Call{h.consumer, owner, []Request{{get, "/internal/events/" + stream(owner) + "/{id}"}}})
		}
	}
	return all
}

// stream is what an owner calls its aggregates.
func stream(owner string) string {
	if owner == "restaurant" {
		return "ticket"
	}
	return owner
}

// Public is what the gateway hands on from outside, by the app that serves it.
func Public() []Call {
	all := []Call{
		{Gateway, "user", []Request{
			{post, "/v1/users"},
			{get, "/v1/users/me"},
			{patch, "/v1/users/me"},
			{put, "/v1/users/me/preferences"},
			{get, "/v1/users/me/addresses"},
			{post, "/v1/users/me/addresses"},
			{del, "/v1/users/me/addresses/{address}"},
			{post, "/v1/tokens"},
			{post, "/v1/tokens/refresh"},
			{post, "/v1/tokens/revoke"},
			{get, "/.well-known/jwks.json"},
		}},
		{Gateway, "menu", []Request{
			{get, "/v1/restaurants"},
			{get, "/v1/restaurants/{restaurant}"},
			{get, "/v1/restaurants/{restaurant}/menu"},
			{patch, "/v1/restaurants/{restaurant}/items/{item}"},
		}},
		{Gateway, "pricing", []Request{{post, "/v1/quotes"}}},
		{Gateway, "order", []Request{
			{post, "/v1/orders"},
			{get, "/v1/orders"},
			{get, "/v1/orders/{order}"},
			{get, "/v1/orders/{order}/events"},
			{post, "/v1/orders/{order}/cancel"},
		}},
		{Gateway, "payment", []Request{{get, "/v1/payments/{order}"}}},
		{Gateway, "restaurant", []Request{
			{get, "/v1/restaurants/{restaurant}/tickets"},
			{put, "/v1/restaurants/{restaurant}/hours"},
			{put, "/v1/restaurants/{restaurant}/capacity"},
			{post, "/v1/tickets/{order}/accept"},
			{post, "/v1/tickets/{order}/reject"},
			{post, "/v1/tickets/{order}/ready"},
		}},
		{Gateway, "delivery", []Request{
			{get, "/v1/couriers/me"},
			{put, "/v1/couriers/me"},
			{put, "/v1/couriers/me/position"},
			{get, "/v1/deliveries/{order}"},
			{post, "/v1/deliveries/{order}/accept"},
			{post, "/v1/deliveries/{order}/decline"},
			{post, "/v1/deliveries/{order}/pickup"},
			{post, "/v1/deliveries/{order}/deliver"},
		}},
		{Gateway, "notification", []Request{{get, "/v1/notifications"}}},
		{Gateway, "analytics", []Request{
			{get, "/v1/analytics/summary"},
			{get, "/v1/analytics/orders"},
		}},
	}
	for i := range all {
		all[i].Requests = append(all[i].Requests, deadLetters(all[i].Callee)...)
	}
	return all
}

// deadLetters is what operators ask of an app about the events that it could not take in.
func deadLetters(app string) []Request {
	path := "/v1/dead-letters/" + app
	return []Request{
		{get, path},
		{get, path + "/audit"},
		{post, path + "/replay"},
		{post, path + "/drop"},
		{get, path + "/{letter}"},
		{put, path + "/{letter}"},
		{post, path + "/{letter}/replay"},
		{post, path + "/{letter}/drop"},
	}
}

// Edge is what comes in from outside: all that is public, and what the gateway answers by itself.
func Edge() []Call {
	requests := []Request{
		{get, "/"},
		{get, "/docs"},
		{get, "/openapi.yaml"},
		{get, "/asyncapi.yaml"},
		{get, "/v1/routes"},
		{get, "/problems/"},
		{get, "/problems/{type}"},
		{get, "/v1/orders/{order}/live"},
		{get, "/v1/restaurants/{restaurant}/live"},
		{get, "/v1/couriers/me/live"},
		{get, "/v1/dead-letters"},
		{get, "/v1/dead-letters/audit"},
	}
	requests = append(requests, deadLetters("{app}")...)
	for _, c := range Public() {
		requests = append(requests, slices.DeleteFunc(c.Requests, func(r Request) bool {
			return slices.Contains(deadLetters(c.Callee), r) // one path for all apps, above
		})...)
	}
	return []Call{{Ingress, Gateway, requests}}
}

// WithoutToken are the requests that people make who have no token (yet). At the edge every other one needs a valid
// token; the gateway looks again, and at the role too.
func WithoutToken() []Request {
	return []Request{
		{post, "/v1/users"},
		{post, "/v1/tokens"},
		{post, "/v1/tokens/refresh"},
		{post, "/v1/tokens/revoke"},
		{get, "/.well-known/jwks.json"},
		{get, "/v1/restaurants"},
		{get, "/v1/restaurants/{restaurant}"},
		{get, "/v1/restaurants/{restaurant}/menu"},
		{get, "/"},
		{get, "/docs"},
		{get, "/openapi.yaml"},
		{get, "/asyncapi.yaml"},
		{get, "/v1/routes"},
		{get, "/problems/"},
		{get, "/problems/{type}"},
	}
}
