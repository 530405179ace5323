package gateway

import (
	"encoding/json"
	"slices"

	"github.com/dishmesh/dishmesh/services/analytics/analyticsapi"
	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/deadletter"
	"github.com/dishmesh/dishmesh/services/internal/openapi"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
	"github.com/dishmesh/dishmesh/services/notification/notificationapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// operation is what the document says of a route beyond the table of routes.
type operation struct {
	id, tag, summary, more string
	query                  []openapi.Parameter // and headers
	body                   any                 // an example
	answers                []openapi.Answer
	problems               []problem.Type // beyond those that follow from the route, see derived
}

// The tags, which are the chapters of the document.
var tags = []openapi.Tag{
	{Name: "accounts", Description: "Registration, tokens, and what an account keeps about itself."},
	{Name: "restaurants", Description: "Restaurants and their menus."},
	{Name: "orders", Description: "From a signed quote to a delivered order."},
	{Name: "kitchens", Description: "The tickets that kitchens work by, and what they set."},
	{Name: "couriers", Description: "Couriers, the offers they get and the deliveries they carry."},
	{Name: "insight", Description: "What was told to whom, payments and figures."},
	{Name: "dead-letters", Description: "Events that an app could not handle, for operators: look, mend, deliver once more, drop. Who did what is kept."},
	{Name: "gateway", Description: "What the gateway says about itself and about this API."},
}

func ok(body any, headers ...string) []openapi.Answer {
	return []openapi.Answer{{Status: 200, Description: "Here it is.", Body: body, Headers: headers}}
}

func cached(body any) []openapi.Answer {
	return append(ok(body, "ETag", "Cache-Control"), notModified)
}

func status(status int, description string, body any, headers ...string) []openapi.Answer {
	return []openapi.Answer{{Status: status, Description: description, Body: body, Headers: headers}}
}

func text(media, description, example string) []openapi.Answer {
	return []openapi.Answer{{Status: 200, Description: description, Media: media, Text: example}}
}

func document(what string) []openapi.Answer {
	return []openapi.Answer{{Status: 200, Description: what, Media: "application/yaml", Schema: openapi.Object{{Key: "type", Value: "object"}}}}
}

// live is a stream of server-sent events. The schema is that of one event; OpenAPI 3.1 has no word for a stream of them.
func live(example string) []openapi.Answer {
	word := openapi.Object{{Key: "type", Value: "string"}}
	data := openapi.Object{{Key: "type", Value: "string"}, {Key: "contentMediaType", Value: "application/json"},
		{Key: "description", Value: "An object with type, id, subject, sequence, time and data; data is the payload of the event."}}
	return []openapi.Answer{{Status: 200, Description: "The events, as they happen.", Media: "text/event-stream", Text: example, Schema: openapi.Object{
		{Key: "type", Value: "object"}, {Key: "description", Value: "One event of the stream."}, {Key: "required", Value: []string{"event", "data"}},
		{Key: "properties", Value: openapi.Object{{Key: "event", Value: word}, {Key: "id", Value: word}, {Key: "data", Value: data}}}}}}
}

func or(body any, media string) []openapi.Answer {
	return []openapi.Answer{{Status: 200, Description: "As JSON, or as a page for browsers.", Body: body, Media: media}}
}

var notModified = openapi.Answer{Status: 304, Description: "The caller has it already: If-None-Match names this version.", Headers: []string{"ETag", "Cache-Control"}}

func integer(name, description string, low, high, def int) openapi.Parameter {
	return openapi.Parameter{Name: name, In: "query", Description: description, Schema: openapi.Object{{Key: "type", Value: "integer"},
		{Key: "minimum", Value: low}, {Key: "maximum", Value: high}}.With("default", orNil(def))}
}

func orNil(n int) any {
	if n == 0 {
		return nil
	}
	return n
}

func words(name, description string, most int) openapi.Parameter {
	return openapi.Parameter{Name: name, In: "query", Description: description, Schema: openapi.Object{{Key: "type", Value: "string"}, {Key: "maxLength", Value: most}}}
}

var (
	ifNoneMatch = openapi.Parameter{Name: "If-None-Match", In: "header", Description: "The ETag of what the caller has.", Schema: openapi.Object{{Key: "type", Value: "string"}}}
	sinceEvent  = openapi.Parameter{Name: "Last-Event-ID", In: "header", Description: "The id of the last event that was seen: the stream goes on after it.",
		Schema: openapi.Object{{Key: "type", Value: "integer"}, {Key: "minimum", Value: 0}, {Key: "maximum", Value: 1 << 20}}}
	ticketState = openapi.Parameter{Name: "state", In: "query", Description: "Only tickets in this state; empty: in all.",
		Schema: openapi.Object{{Key: "type", Value: "string"}, {Key: "enum", Value: []string{"open", "accepted", "ready", ""}}}}
)

var (
	written   = []problem.Type{problem.WriteConflict}
	ticketed  = []problem.Type{problem.IllegalState, problem.WriteConflict}
	carried   = []problem.Type{problem.IllegalState, problem.WriteConflict}
	faulty    = []problem.Type{problem.InvalidRequest}
	goneQuote = []problem.Type{problem.QuoteInvalid, problem.QuoteNotYours, problem.QuoteExpired, problem.PriceChanged, problem.ItemUnavailable,
		problem.PromotionInvalid, problem.PromotionExhausted, problem.IllegalState, problem.WriteConflict, problem.ReusedKey, problem.NotFound}
)

var (
	letterPage = []openapi.Parameter{integer("limit", "How many.", 1, deadletter.MaxListed, 50), integer("before", "The next of the page before.", 1, 1<<31-1, 0)}
	instant    = openapi.Object{{Key: "type", Value: "string"}, {Key: "format", Value: "date-time"}}
	// letterFilter chooses letters.
	letterFilter = []openapi.Parameter{words("topic", "Of this topic.", 200), words("type", "Of events of this type.", 200), words("subject", "Of this aggregate.", 200),
		words("cause", "With this in their cause.", 200), {Name: "since", In: "query", Description: "Failed last at that time or later.", Schema: instant},
		{Name: "until", In: "query", Description: "Failed last before that time.", Schema: instant}, letterPage[0]}
	bulk = []openapi.Answer{{Status: 200, Description: "What came of it, or what would be done.", Body: letterResult, Or: deadletter.DryRun{}}}
)

// operations are those of all routes, by method and pattern.
var operations = map[string]operation{
	"POST /v1/users": {"register", "accounts", "Open an account", "Anybody may register customers and couriers; an operator any role. The phone number is used for text messages.", nil,
		userapi.Registration{Email: "ada@example.org", Password: "correct horse battery", Name: "Ada Lindqvist", Phone: "+4915112345678", Role: "customer"},
		status(201, "The account.", customer, "Location"), []problem.Type{problem.Forbidden, problem.AlreadyExists, problem.WriteConflict}},
	"POST /v1/tokens": {"logIn", "accounts", "Log in", "Gives an access token, good for minutes, and a refresh token, good for one use.", nil,
		userapi.Credentials{Email: "ada@example.org", Password: "correct horse battery"}, ok(tokens, "Cache-Control"), []problem.Type{problem.BadCredentials}},
	"POST /v1/tokens/refresh": {"refreshTokens", "accounts", "Get the next tokens", "A refresh token that is used twice was stolen from somebody: then all that descend from the same login are revoked.", nil,
		userapi.RefreshRequest{RefreshToken: tokens.RefreshToken}, ok(tokens, "Cache-Control"), []problem.Type{problem.Unauthenticated, problem.RefreshReused}},
	"POST /v1/tokens/revoke": {"logOut", "accounts", "Log out", "Ends the refresh token and all that descend from the same login. An unknown token is answered alike (RFC 7009).", nil,
		userapi.RefreshRequest{RefreshToken: tokens.RefreshToken}, status(204, "It is not good any more.", nil), nil},
	"GET " + userapi.KeySetPath: {"keys", "accounts", "The keys of access tokens", "A JSON Web Key Set (RFC 7517) of Ed25519 keys.", nil, nil,
		ok(userapi.KeySet{Keys: []userapi.Key{{Type: "OKP", Curve: "Ed25519", ID: "key_1", Use: "sig", Algorithm: "EdDSA", X: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}}, "Cache-Control"), nil},
	"GET /v1/users/me":   {"me", "accounts", "The caller's account", "", nil, nil, ok(customer), []problem.Type{problem.NotFound}},
	"PATCH /v1/users/me": {"changeMe", "accounts", "Change name or phone", "", nil, userapi.UserPatch{Name: ptr("Ada L.")}, ok(customer), []problem.Type{problem.NotFound, problem.WriteConflict}},
	"PUT /v1/users/me/preferences": {"setPreferences", "accounts", "Choose the channels to be told by", "", nil,
		userapi.PreferencesUpdate{Email: ptr(true), SMS: ptr(false), Push: ptr(true)}, ok(customer), []problem.Type{problem.NotFound, problem.WriteConflict}},
	"GET /v1/users/me/addresses": {"addresses", "accounts", "The caller's addresses", "", nil, nil, ok(userapi.AddressList{Addresses: []userapi.Address{address}}), nil},
	"POST /v1/users/me/addresses": {"addAddress", "accounts", "Keep an address", "An account keeps 20 at most.", nil,
		userapi.NewAddress{Label: "Home", Street: "Hafenstrasse 12", Lat: ptr(53.9021), Lon: ptr(9.9103), Note: "Second floor"},
		status(201, "The address with its id.", address), []problem.Type{problem.IllegalState}},
	"DELETE /v1/users/me/addresses/{address}": {"deleteAddress", "accounts", "Forget an address", "", nil, nil, status(204, "It is gone.", nil), nil},

	"GET /v1/restaurants": {"restaurants", "restaurants", "Find restaurants", "", []openapi.Parameter{
		words("q", "A part of the name, the description or of a dish.", 100), words("cuisine", "Such as italian.", 100),
		integer("limit", "How many on a page.", 1, 100, 20), integer("offset", "How many to pass over.", 0, 1_000_000, 0), ifNoneMatch},
		nil, cached(menuapi.List{Restaurants: []menuapi.Restaurant{restaurant}, Total: 1}), faulty},
	"GET /v1/restaurants/{restaurant}": {"restaurant", "restaurants", "One restaurant", "", []openapi.Parameter{ifNoneMatch}, nil, cached(restaurant), nil},
	"GET /v1/restaurants/{restaurant}/menu": {"menu", "restaurants", "A restaurant's menu", "", []openapi.Parameter{ifNoneMatch}, nil,
		cached(menuapi.Menu{Restaurant: restaurant, Currency: "EUR", Items: []menuapi.Item{dish}}), nil},
	"PATCH /v1/restaurants/{restaurant}/items/{item}": {"changeItem", "kitchens", "Change a dish's price or availability", "", nil,
		menuapi.ItemPatch{Available: ptr(true)}, ok(dish), written},

	"POST /v1/quotes": {"quote", "orders", "Ask what an order would cost", "The answer is signed and holds until expires_at; an order is placed with its token.", nil,
		pricingapi.QuoteRequest{RestaurantID: "rst_01", Items: []pricingapi.ItemLine{{ItemID: "itm_0101", Quantity: 2, Options: []string{"large"}}},
			Dropoff: &pricingapi.Dropoff{Lat: ptr(53.9021), Lon: ptr(9.9103), Street: "Hafenstrasse 12"}},
		status(201, "The quote.", quote, "Cache-Control"), []problem.Type{problem.NotFound, problem.RestaurantClosed, problem.OutOfRange, problem.UnknownItem,
			problem.ItemUnavailable, problem.PromotionInvalid, problem.PromotionExhausted}},
	"POST /v1/orders": {"placeOrder", "orders", "Place an order", "The quote is redeemed and the order acknowledged; payment and kitchen are asked after that. Sent again with the same key and body, it gets the same answer. " +
		"Card tokens of the test acquirer: card_ok, card_declined, card_insufficient, card_slow and others.", nil,
		orderapi.PlaceRequest{Quote: quoteToken, Card: "card_ok", Note: "No basil, please."}, status(201, "The order.", placed, "Location", "ETag"), goneQuote},
	"GET /v1/orders": {"orders", "orders", "The caller's orders", "The newest first.", []openapi.Parameter{integer("limit", "How many.", 1, 100, 20)}, nil,
		ok(orderapi.List{Orders: []orderapi.Order{delivered}}), faulty},
	"GET /v1/orders/{order}": {"order", "orders", "One order", "For its customer, its kitchen, its courier and operators. Retry-After says when to ask again while it is under way; better, follow it live.",
		[]openapi.Parameter{integer("version", "The order as it was at this version, for operators.", 1, 1<<20, 0), ifNoneMatch}, nil,
		append(ok(delivered, "ETag", "Retry-After", "Cache-Control"), openapi.Answer{Status: 304, Description: notModified.Description, Headers: []string{"ETag", "Retry-After", "Cache-Control"}}), faulty},
	"GET /v1/orders/{order}/events": {"orderEvents", "orders", "The history of an order", "All that happened to it, oldest first.",
		[]openapi.Parameter{integer("after", "Only what came after this version.", 0, 1<<20, 0)}, nil, ok(happened), faulty},
	"POST /v1/orders/{order}/cancel": {"cancelOrder", "orders", "Ask for a cancellation", "Whether it comes in time is decided where the courier picks up; the answer is the order as it stands.", nil,
		orderapi.CancelRequest{Reason: "Changed my mind."}, status(202, "The order, as it stands.", cancelling), []problem.Type{problem.TooLate, problem.WriteConflict}},
	"GET /v1/orders/{order}/live": {"followOrder", "orders", "Follow an order", "Server-sent events. Each event of the order comes once and in order, and the stream ends with the last; " +
		"positions of the courier come in between and have no id. A comment every 15 s shows that the line is alive.", []openapi.Parameter{sinceEvent}, nil,
		live(orderStream), faulty},

	"GET /v1/restaurants/{restaurant}/tickets": {"tickets", "kitchens", "What there is to do", "Of the own restaurant, oldest first.", []openapi.Parameter{ticketState}, nil,
		ok(restaurantapi.TicketList{Tickets: []restaurantapi.Ticket{ticket}}), faulty},
	"POST /v1/tickets/{order}/accept": {"acceptTicket", "kitchens", "Cook an order", "", nil, restaurantapi.AcceptRequest{PrepMinutes: 15}, ok(ticket), ticketed},
	"POST /v1/tickets/{order}/reject": {"rejectTicket", "kitchens", "Refuse an order", "", nil, restaurantapi.RejectRequest{Reason: "Out of dough."}, ok(ticket), ticketed},
	"POST /v1/tickets/{order}/ready":  {"ticketReady", "kitchens", "The food can be fetched", "", nil, nil, ok(ticket), ticketed},
	"PUT /v1/restaurants/{restaurant}/hours": {"setHours", "kitchens", "Set the hours in which tickets are taken", "", nil,
		hours, ok(kitchen), written},
	"PUT /v1/restaurants/{restaurant}/capacity": {"setCapacity", "kitchens", "Set how many tickets are worked on at a time", "", nil,
		restaurantapi.Capacity{Capacity: 20}, ok(kitchen), written},
	"GET /v1/restaurants/{restaurant}/live": {"followKitchen", "kitchens", "Follow a restaurant", "Server-sent events: tickets as they come and change. They are not kept: after a gap, ask for the tickets.", nil, nil,
		live(kitchenStream), nil},

	"GET /v1/couriers/me": {"courier", "couriers", "The caller, the offers, the delivery", "", nil, nil, ok(deliveryapi.CourierView{Courier: courier, Offers: []deliveryapi.Offer{offer}}), []problem.Type{problem.NotFound}},
	"PUT /v1/couriers/me": {"setPresence", "couriers", "Go online or offline", "The position is needed to go online for the first time.", nil,
		deliveryapi.PresenceRequest{Online: ptr(true), Lat: ptr(53.9012), Lon: ptr(9.9060)}, ok(courier), written},
	"PUT /v1/couriers/me/position": {"setPosition", "couriers", "Say where the caller is", "", nil, deliveryapi.PositionRequest{Lat: ptr(53.9012), Lon: ptr(9.9060)},
		status(204, "Noted.", nil), []problem.Type{problem.IllegalState}},
	"GET /v1/couriers/me/live": {"followCourier", "couriers", "Follow offers and deliveries", "Server-sent events: what is offered, what becomes of it, and when the food is ready. They are not kept: after a gap, ask for /v1/couriers/me.", nil, nil,
		live(courierStream), nil},
	"GET /v1/deliveries/{order}": {"delivery", "couriers", "Track a delivery", "For its customer, its courier and operators.", nil, nil, ok(tracking), nil},
	"POST /v1/deliveries/{order}/accept": {"acceptDelivery", "couriers", "Take an offered delivery", "", nil, nil, ok(tracking),
		[]problem.Type{problem.OfferLost, problem.CourierBusy, problem.WriteConflict}},
	"POST /v1/deliveries/{order}/decline": {"declineDelivery", "couriers", "Decline an offer", "", nil, nil, status(204, "Somebody else is asked.", nil), []problem.Type{problem.OfferLost, problem.WriteConflict}},
	"POST /v1/deliveries/{order}/pickup":  {"pickUp", "couriers", "The food is picked up", "From here on the order can't be cancelled.", nil, nil, ok(tracking), carried},
	"POST /v1/deliveries/{order}/deliver": {"deliver", "couriers", "The food is delivered", "", nil, nil, ok(tracking), carried},

	"GET /v1/notifications": {"notifications", "insight", "What the caller was told", "By mail, text message and push message, the newest first.", []openapi.Parameter{integer("limit", "How many.", 1, 50, 50)}, nil,
		ok(notificationapi.List{Notifications: []notificationapi.Notification{told}}), faulty},
	"GET /v1/payments/{order}":  {"payment", "insight", "The payment of an order", "With the whole double-entry journal behind it.", nil, nil, ok(payment), faulty},
	"GET /v1/analytics/summary": {"summary", "insight", "The figures", "They follow the events, and lag behind them by a little.", nil, nil, ok(summary), nil},
	"GET /v1/analytics/orders": {"orderFigures", "insight", "The newest orders with their times", "", []openapi.Parameter{integer("limit", "How many.", 1, 100, 20)}, nil,
		ok(analyticsapi.OrderList{AsOf: &noon, Consistency: analyticsapi.Eventual, Orders: []analyticsapi.Order{figures}}), faulty},

	"GET /v1/dead-letters": {"deadLetters", "dead-letters", "The letters of all apps", "The newest first. An app that does not answer is named, and complete is false.", letterFilter, nil,
		ok(deadletter.Overview{Letters: []deadletter.Entry{letter.Entry}, Matched: 1, Total: 1, Complete: true, Apps: []deadletter.AppAnswer{{App: "payment", Matched: 1, Total: 1, Topics: letterTopics}}}), faulty},
	"GET /v1/dead-letters/audit": {"deadLettersTrail", "dead-letters", "Who did what with the letters of all apps", "The newest first.", letterPage[:1], nil,
		ok(deadletter.TrailOverview{Records: []deadletter.Record{letterRecord}, Complete: true, Apps: []deadletter.AppAnswer{{App: "payment", Total: 1}}}), faulty},
	"GET /v1/dead-letters/{app}": {"deadLettersOf", "dead-letters", "The letters of an app", "The newest first.", append(slices.Clone(letterFilter), letterPage[1]), nil,
		ok(deadletter.List{App: "payment", Letters: []deadletter.Entry{letter.Entry}, Matched: 1, Total: 1, Topics: letterTopics}), faulty},
	"GET /v1/dead-letters/{app}/audit": {"deadLettersTrailOf", "dead-letters", "Who did what with the letters of an app", "The newest first.", letterPage, nil,
		ok(deadletter.Trail{App: "payment", Records: []deadletter.Record{letterRecord}}), faulty},
	"POST /v1/dead-letters/{app}/replay": {"replayDeadLetters", "dead-letters", "Deliver the letters that a filter chooses once more", "A part at a time: the answer's cursor goes into the next request. A dry run does nothing and tells what would be done.", nil,
		deadletter.BulkRequest{Filter: deadletter.Filter{Cause: "no such account"}, DryRun: true}, bulk, written},
	"POST /v1/dead-letters/{app}/drop": {"dropDeadLetters", "dead-letters", "Drop the letters that a filter chooses", "A part at a time: the answer's cursor goes into the next request. A dry run does nothing and tells what would be done.", nil,
		deadletter.BulkRequest{Filter: deadletter.Filter{Cause: "no such account"}, DryRun: true}, bulk, written},
	"GET /v1/dead-letters/{app}/{letter}": {"deadLetter", "dead-letters", "One letter, with the original event", "", nil, nil, ok(letter), nil},
	"PUT /v1/dead-letters/{app}/{letter}": {"editDeadLetter", "dead-letters", "Change what a replay delivers", "The original is kept.", nil,
		deadletter.EditRequest{Body: json.RawMessage(letter.Original)}, ok(letter), written},
	"POST /v1/dead-letters/{app}/{letter}/replay": {"replayDeadLetter", "dead-letters", "Deliver a letter once more", "It is gone if that succeeds, and kept if not.", nil,
		deadletter.ActionRequest{Reason: "The account is there now."}, ok(letterResult), written},
	"POST /v1/dead-letters/{app}/{letter}/drop": {"dropDeadLetter", "dead-letters", "Drop a letter", "", nil,
		deadletter.ActionRequest{Reason: "A test."}, ok(letterResult), written},

	"GET /":          {"home", "gateway", "The landing page", "", nil, nil, text("text/html", "A page for people.", ""), nil},
	"GET /v1/routes": {"routes", "gateway", "Every route, who may use it, and the fields of its body", "", nil, nil, ok(RouteList{Routes: []RouteInfo{{Method: "POST", Path: "/v1/quotes", Service: "pricing", For: []string{"customer"}, Body: []string{"restaurant_id", "items", "dropoff", "promotion?"}}}}, "Cache-Control"), nil},
	"GET /problems/": {"problems", "gateway", "Every type of problem", "", nil, nil, or(ProblemList{Problems: []ProblemInfo{problemInfo(problem.NotFound)}}, "text/html"), nil},
	"GET /problems/{type}": {"problem", "gateway", "What a type of problem means", "Its path is the type member of the problem documents.", nil, nil,
		or(problemInfo(problem.NotFound), "text/html"), nil},
	"GET /openapi.yaml":  {"openapi", "gateway", "This document", "", nil, nil, document("OpenAPI 3.1."), nil},
	"GET /asyncapi.yaml": {"asyncapi", "gateway", "The topics and their events", "", nil, nil, document("AsyncAPI 3.0."), []problem.Type{problem.NotFound}},
	"GET /docs":          {"docs", "gateway", "This document as a page", "", nil, nil, text("text/html", "A page for people.", ""), nil},
}
