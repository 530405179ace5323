package gateway

import (
	"time"

	"github.com/dishmesh/dishmesh/services/analytics/analyticsapi"
	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/deadletter"
	"github.com/dishmesh/dishmesh/services/internal/geo"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
	"github.com/dishmesh/dishmesh/services/notification/notificationapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// The examples of the document tell of one order from beginning to end.
const (
	customerID = "usr_01kb3c9q5x7d2m4n6p8r0s1t3v"
	courierID  = "usr_01kb3c0a1b2c3d4e5f6g7h8j9k"
	orderID    = "ord_5m2k8q0v7x1c3d9f4g6h2j8p0r"
	quoteToken = "ey4xLjE.WyJxdGUi.c2lnbmF0dXJl"
)

var (
	noon     = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	customer = userapi.User{ID: customerID, Email: "ada@example.org", Name: "Ada Lindqvist", Phone: "+4915112345678", Role: "customer",
		Preferences: userapi.Preferences{Email: true, SMS: true, Push: true}, CreatedAt: noon.Add(-24 * time.Hour)}
	tokens = userapi.Tokens{AccessToken: "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ1c3IifQ.c2lnbmF0dXJl", TokenType: "Bearer", ExpiresIn: 900,
		RefreshToken: "rtf_01kb3c9q5x7d2m4n6p8r0s1t3v.4XJ7QW2M", User: customer}
	address = userapi.Address{ID: "adr_01kb3c9q5x7d2m4n6p8r0s1t3v", Label: "Home", Street: "Hafenstrasse 12", Lat: 53.9021, Lon: 9.9103, Note: "Second floor"}

	restaurant = menuapi.Restaurant{ID: "rst_01", Name: "Trattoria Da Nino", Cuisine: "italian", Description: "Stone-oven pizza and fresh pasta.",
		Address: "Marktplatz 3, 24999 Lindenhafen", Lat: 53.9004, Lon: 9.9012, TimeZone: "Europe/Berlin",
		OpeningHours:    []menuapi.Period{{Days: []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}, From: "00:00", To: "24:00"}},
		DeliveryRadiusM: 6000, Open: true}
	dish = menuapi.Item{ID: "itm_0101", Name: "Pizza Margherita", Description: "Tomato, mozzarella, basil.", Category: "Pizza", Price: 950,
		TaxClass: menuapi.TaxFood, Available: true, Tags: []string{"vegetarian"}, OptionGroups: []menuapi.OptionGroup{{
			ID: "size", Name: "Size", Max: 1, Options: []menuapi.Option{{ID: "large", Name: "Large (36 cm)", Price: 300}}}}}

	pickup  = deliveryapi.Place{Point: geo.Point{Lat: 53.9004, Lon: 9.9012}, Address: "Marktplatz 3, 24999 Lindenhafen"}
	dropoff = deliveryapi.Place{Point: geo.Point{Lat: 53.9021, Lon: 9.9103}, Address: "Hafenstrasse 12"}

	quote = pricingapi.Quote{ID: "qte_01kb3d0a1b2c3d4e5f6g7h8j9k", CustomerID: customerID, RestaurantID: "rst_01", RestaurantName: "Trattoria Da Nino",
		Items: []pricingapi.Item{{ItemID: "itm_0101", Name: "Pizza Margherita", Quantity: 2, UnitPrice: 1250, Total: 2500,
			Options: []pricingapi.Option{{ID: "large", Name: "Large (36 cm)", Price: 300}}}},
		Currency: "EUR", Subtotal: 2500, DeliveryFee: 250, Discount: 250, Promotion: "WELCOME10", Tax: 164, Total: 2500,
		TaxParts: []pricingapi.TaxPart{{RateBP: 700, Gross: 2500, Tax: 164}},
		Pickup:   pricingapi.PickupPlace{Lat: 53.9004, Lon: 9.9012, Address: "Marktplatz 3, 24999 Lindenhafen"},
		Dropoff:  pricingapi.DropoffPlace{Lat: 53.9021, Lon: 9.9103, Street: "Hafenstrasse 12"}, ExpiresAt: noon.Add(10 * time.Minute), Token: quoteToken}

	placed = orderapi.Order{ID: orderID, CustomerID: customerID, RestaurantID: "rst_01", RestaurantName: "Trattoria Da Nino", Status: orderapi.Placed, Version: 1,
		Items:     []orderapi.Item{{ItemID: "itm_0101", Name: "Pizza Margherita", Quantity: 2, Options: []string{"Large (36 cm)"}, UnitPrice: 1250, Total: 2500}},
		Bill:      orderapi.Bill{Currency: "EUR", Subtotal: 2500, DeliveryFee: 250, Discount: 250, Tax: 164, Total: 2500},
		Promotion: "WELCOME10", Note: "No basil, please.", Pickup: orderapi.Place{Lat: 53.9004, Lon: 9.9012, Address: "Marktplatz 3, 24999 Lindenhafen"},
		Dropoff: orderapi.Place{Lat: 53.9021, Lon: 9.9103, Address: "Hafenstrasse 12"}, PlacedAt: noon}
	delivered = func() orderapi.Order {
		o, at := placed, func(minutes int) *time.Time { t := noon.Add(time.Duration(minutes) * time.Minute); return &t }
		o.Status, o.Version, o.CourierID, o.PrepMinutes = orderapi.Delivered, 4, courierID, 15
		o.AcceptedAt, o.PickedUpAt, o.DeliveredAt, o.EndedAt = at(1), at(17), at(26), at(26)
		return o
	}()
	cancelling = func() orderapi.Order { o := placed; o.Version, o.CancelRequested = 2, true; return o }()

	ticket = restaurantapi.Ticket{OrderID: orderID, RestaurantID: "rst_01", CustomerID: customerID, Status: restaurantapi.Accepted, PrepMinutes: 15,
		Items: []restaurantapi.Item{{ItemID: "itm_0101", Name: "Pizza Margherita", Quantity: 2, Options: []string{"Large (36 cm)"}}},
		Note:  "No basil, please.", OpenedAt: noon, Deadline: noon.Add(2 * time.Minute), AcceptedAt: noon.Add(time.Minute)}
	hours   = restaurantapi.Hours{Timezone: "Europe/Berlin", Openings: []restaurantapi.Opening{{Day: "fri", Open: "11:30", Close: "23:00"}, {Day: "sat", Open: "17:00", Close: "01:00"}}}
	kitchen = restaurantapi.Kitchen{RestaurantID: "rst_01", Hours: hours, Capacity: restaurantapi.Capacity{Capacity: 20}, Active: 3}

	tracking = deliveryapi.Tracking{OrderID: orderID, CustomerID: customerID, RestaurantID: "rst_01", Status: deliveryapi.PickedUp, CourierID: courierID,
		Courier: &geo.Point{Lat: 53.9012, Lon: 9.9060}, ETA: noon.Add(26 * time.Minute), Ready: true, Pickup: pickup, Dropoff: dropoff,
		RequestedAt: noon, AssignedAt: noon.Add(time.Minute), PickedUpAt: noon.Add(17 * time.Minute)}
	courier = deliveryapi.Courier{CourierID: courierID, Online: true, Position: &geo.Point{Lat: 53.9012, Lon: 9.9060}}
	offer   = deliveryapi.Offer{OrderID: orderID, CustomerID: customerID, RestaurantID: "rst_01", Pickup: pickup, Dropoff: dropoff, ExpiresAt: noon.Add(30 * time.Second)}

	told = notificationapi.Notification{ID: "ntf_5m2k8q0v7x1c3d9f4g6h2j8p0r", Cause: "order/" + orderID + "/1", Channel: notificationapi.Email, Template: "order.placed",
		OrderID: orderID, Subject: "Your order at Trattoria Da Nino", Status: notificationapi.Sent, CreatedAt: noon, SentAt: &noon}
	payment = paymentapi.Payment{OrderID: orderID, CustomerID: customerID, RestaurantID: "rst_01", Status: paymentapi.Authorized, Currency: "EUR", Amount: 2500,
		Card: "d_ok", Version: 1, Journal: []paymentapi.Entry{{Sequence: 1, Type: "payment.authorized", Time: noon, Amount: 2500, AcquirerReference: "auth_17",
			Postings: []paymentapi.Posting{{Account: "held", Amount: 2500}, {Account: "customer", Amount: -2500}}}},
		Balances: []paymentapi.Posting{{Account: "customer", Amount: -2500}, {Account: "held", Amount: 2500}}}
	summary = analyticsapi.Summary{AsOf: &noon, Consistency: analyticsapi.Eventual, Currency: "EUR",
		Orders:      analyticsapi.Orders{Total: 2, ByStatus: map[string]int64{"delivered": 1, "placed": 1}},
		Revenue:     analyticsapi.Revenue{Gross: 2500, Net: 2500, Currency: "EUR"},
		ByDay:       []analyticsapi.Day{{Date: "2026-11-22", Orders: 2, Gross: 2500, Net: 2500}},
		Restaurants: []analyticsapi.Restaurant{{RestaurantID: "rst_01", Name: "Trattoria Da Nino", Orders: 2, Delivered: 1, Gross: 2500, Net: 2500}},
		LeadTimes:   map[string]analyticsapi.LeadTime{"placed_to_accepted": {Count: 1, P50: 60, P90: 60, P99: 60}},
		Funnel:      []analyticsapi.FunnelStep{{Step: "placed", Orders: 2, Share: 1}, {Step: "delivered", Orders: 1, Share: .5}},
		Accounts:    map[string]int64{"customer": 1, "kitchen": 12, "courier": 24, "operator": 1}}
	figures = analyticsapi.Order{OrderID: orderID, RestaurantID: "rst_01", RestaurantName: "Trattoria Da Nino", Status: "delivered", Currency: "EUR",
		Total: 2500, Captured: 2500, PlacedAt: &noon, DeliveredAt: delivered.DeliveredAt}

	letter = deadletter.Letter{Entry: deadletter.Entry{Seq: 1, ID: "payment_5m2k8q0v7x1c3d9f4g6h2j8p0r", App: "payment", Topic: "fooddelivery.order",
		Event: "order/" + orderID + "/4", Type: "fooddelivery.order.delivered", Subject: orderID, Cause: "no such account", Attempts: 5, First: noon, Last: noon.Add(15 * time.Second), Size: 2},
		Original: "{}"}
	letterTopics = []deadletter.TopicDepth{{Topic: "fooddelivery.order", Count: 1, Oldest: noon}}
	letterRecord = deadletter.Record{Seq: 1, App: "payment", At: noon, By: "usr_01kb3c0a1b2c3d4e5f6g7h8j9k", Action: "replay", Operation: "dlo_5m2k8q0v7x1c3d9f4g6h2j8p0r", Phase: "done", Done: 1}
	letterResult = deadletter.Result{Operation: letterRecord.Operation, Matched: 1, Done: 1, Failed: []deadletter.Failure{}}

	happened = orderapi.EventList{Events: []orderapi.HistoryEvent{{ID: "order/" + orderID + "/2", Type: orderapi.EventAccepted, Sequence: 2, Time: noon.Add(time.Minute),
		Data: map[string]any{"order_id": orderID, "customer_id": customerID, "restaurant_id": "rst_01", "prep_minutes": 15}}}}
)

// What live streams look like.
const (
	orderStream = "retry: 1000\n\nid: 2\nevent: order.accepted\n" +
		`data: {"type":"order.accepted","id":"order/` + orderID + `/2","subject":"` + orderID + `","sequence":2,"time":"2026-11-22T12:01:00Z","data":{"order_id":"` + orderID + `","prep_minutes":15}}` + "\n\n"
	kitchenStream = "retry: 1000\n\nevent: restaurant.ticket-opened\n" +
		`data: {"type":"restaurant.ticket-opened","id":"ticket/` + orderID + `/1","subject":"` + orderID + `","sequence":1,"time":"2026-11-22T12:00:00Z","data":{"order_id":"` + orderID + `","restaurant_id":"rst_01"}}` + "\n\n"
	courierStream = "retry: 1000\n\nevent: delivery.offered\n" +
		`data: {"type":"delivery.offered","id":"delivery/` + orderID + `/2","subject":"` + orderID + `","sequence":2,"time":"2026-11-22T12:00:01Z","data":{"order_id":"` + orderID + `","courier_id":"` + courierID + `"}}` + "\n\n"
)

func ptr[T any](v T) *T { return &v }
