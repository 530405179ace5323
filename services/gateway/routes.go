package gateway

import (
	"net/http"
	"slices"

	"github.com/dishmesh/dishmesh/services/analytics/analyticsapi"
	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/deadletter"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
	"github.com/dishmesh/dishmesh/services/notification/notificationapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// audience is who may use a route.
type audience []string

// The audiences. A token that is sent is verified for all but nobodys, which are for those who have none (yet).
var (
	nobodys   = audience{"nobody"} // the Authorization header is not looked at
	anyone    = audience{"anyone"} // with or without a token
	everyRole = audience{web.RoleCustomer, web.RoleKitchen, web.RoleCourier, web.RoleOperator}
	customers = audience{web.RoleCustomer}
	kitchens  = audience{web.RoleKitchen}
	couriers  = audience{web.RoleCourier}
	operators = audience{web.RoleOperator}
)

func (a audience) and(more ...audience) audience {
	return slices.Concat(append([]audience{a}, more...)...)
}

// A route says who may ask what of whom. Whether a thing is the caller's own is decided by the service that has it.
type route struct {
	Method  string
	Pattern string
	App     string // the app that serves it; "" for the gateway itself
	For     audience
	Body    any                                                      // what the JSON body is validated as; nil: there is none
	Flags   flags                                                    // what else is asked of a request
	handler func(*Service, http.ResponseWriter, *http.Request) error // of the gateway itself
}

type flags uint8

const (
	idempotent   flags = 1 << iota // an Idempotency-Key is required: money or orders are made
	bodyOptional                   // the body may be left out
	credentials                    // somebody could try passwords here: the stricter rate limit holds
)

func (f flags) has(x flags) bool { return f&x != 0 }

const (
	get   = http.MethodGet
	post  = http.MethodPost
	put   = http.MethodPut
	patch = http.MethodPatch
	del   = http.MethodDelete
)

// routes is all that can be asked from outside. It is the router, the authorization and the documentation
// (GET /v1/routes) in one; what is not in it does not exist.
func routes() []route {
	return []route{
		// Accounts and tokens
		{post, "/v1/users", userapi.App, anyone, userapi.Registration{}, credentials, nil},
		{post, "/v1/tokens", userapi.App, nobodys, userapi.Credentials{}, credentials, nil},
		{post, "/v1/tokens/refresh", userapi.App, nobodys, userapi.RefreshRequest{}, 0, nil},
		{post, "/v1/tokens/revoke", userapi.App, nobodys, userapi.RefreshRequest{}, 0, nil},
		{get, userapi.KeySetPath, userapi.App, nobodys, nil, 0, nil},
		{get, "/v1/users/me", userapi.App, everyRole, nil, 0, nil},
		{patch, "/v1/users/me", userapi.App, everyRole, userapi.UserPatch{}, 0, nil},
		{put, "/v1/users/me/preferences", userapi.App, everyRole, userapi.PreferencesUpdate{}, 0, nil},
		{get, "/v1/users/me/addresses", userapi.App, everyRole, nil, 0, nil},
		{post, "/v1/users/me/addresses", userapi.App, everyRole, userapi.NewAddress{}, 0, nil},
		{del, "/v1/users/me/addresses/{address}", userapi.App, everyRole, nil, 0, nil},

		// Restaurants and their menus
		{get, "/v1/restaurants", menuapi.App, anyone, nil, 0, nil},
		{get, "/v1/restaurants/{restaurant}", menuapi.App, anyone, nil, 0, nil},
		{get, "/v1/restaurants/{restaurant}/menu", menuapi.App, anyone, nil, 0, nil},
		{patch, "/v1/restaurants/{restaurant}/items/{item}", menuapi.App, kitchens.and(operators), menuapi.ItemPatch{}, 0, nil},

		// Quotes and orders
		{post, "/v1/quotes", pricingapi.App, customers, pricingapi.QuoteRequest{}, 0, nil},
		{post, "/v1/orders", orderapi.App, customers, orderapi.PlaceRequest{}, idempotent, nil},
		{get, "/v1/orders", orderapi.App, customers.and(operators), nil, 0, nil},
		{get, "/v1/orders/{order}", orderapi.App, everyRole, nil, 0, nil},
		{get, "/v1/orders/{order}/events", orderapi.App, customers.and(operators), nil, 0, nil},
		{post, "/v1/orders/{order}/cancel", orderapi.App, customers.and(operators), orderapi.CancelRequest{}, bodyOptional, nil},
		{get, "/v1/orders/{order}/live", "", customers.and(operators), nil, 0, (*Service).handleOrderLive},

		// Kitchens
		{get, "/v1/restaurants/{restaurant}/tickets", restaurantapi.App, kitchens.and(operators), nil, 0, nil},
		{post, "/v1/tickets/{order}/accept", restaurantapi.App, kitchens, restaurantapi.AcceptRequest{}, 0, nil},
		{post, "/v1/tickets/{order}/reject", restaurantapi.App, kitchens, restaurantapi.RejectRequest{}, 0, nil},
		{post, "/v1/tickets/{order}/ready", restaurantapi.App, kitchens, nil, 0, nil},
		{put, "/v1/restaurants/{restaurant}/hours", restaurantapi.App, kitchens.and(operators), restaurantapi.Hours{}, 0, nil},
		{put, "/v1/restaurants/{restaurant}/capacity", restaurantapi.App, kitchens.and(operators), restaurantapi.Capacity{}, 0, nil},
		{get, "/v1/restaurants/{restaurant}/live", "", kitchens.and(operators), nil, 0, (*Service).handleKitchenLive},

		// Couriers and deliveries
		{get, "/v1/couriers/me", deliveryapi.App, couriers, nil, 0, nil},
		{put, "/v1/couriers/me", deliveryapi.App, couriers, deliveryapi.PresenceRequest{}, 0, nil},
		{put, "/v1/couriers/me/position", deliveryapi.App, couriers, deliveryapi.PositionRequest{}, 0, nil},
		{get, "/v1/couriers/me/live", "", couriers, nil, 0, (*Service).handleCourierLive},
		{get, "/v1/deliveries/{order}", deliveryapi.App, everyRole, nil, 0, nil},
		{post, "/v1/deliveries/{order}/accept", deliveryapi.App, couriers, nil, 0, nil},
		{post, "/v1/deliveries/{order}/decline", deliveryapi.App, couriers, nil, 0, nil},
		{post, "/v1/deliveries/{order}/pickup", deliveryapi.App, couriers, nil, 0, nil},
		{post, "/v1/deliveries/{order}/deliver", deliveryapi.App, couriers, nil, 0, nil},

		// What was told to whom, and how it goes
		{get, "/v1/notifications", notificationapi.App, everyRole, nil, 0, nil},
		{get, "/v1/payments/{order}", paymentapi.App, operators, nil, 0, nil},
		{get, "/v1/analytics/summary", analyticsapi.App, operators, nil, 0, nil},
		{get, "/v1/analytics/orders", analyticsapi.App, operators, nil, 0, nil},

		// What an app could not take in. An app is named by its path and serves its own
		{get, deadletter.Path, "", operators, nil, 0, (*Service).handleDeadLetters},
		{get, deadletter.Path + "/audit", "", operators, nil, 0, (*Service).handleDeadLetterTrail},
		{get, deadletter.Path + "/{app}", "", operators, nil, 0, (*Service).handleDeadLettersOf},
		{get, deadletter.Path + "/{app}/audit", "", operators, nil, 0, (*Service).handleDeadLettersOf},
		{post, deadletter.Path + "/{app}/replay", "", operators, deadletter.BulkRequest{}, 0, (*Service).handleDeadLettersOf},
		{post, deadletter.Path + "/{app}/drop", "", operators, deadletter.BulkRequest{}, 0, (*Service).handleDeadLettersOf},
		{get, deadletter.Path + "/{app}/{letter}", "", operators, nil, 0, (*Service).handleDeadLettersOf},
		{put, deadletter.Path + "/{app}/{letter}", "", operators, deadletter.EditRequest{}, 0, (*Service).handleDeadLettersOf},
		{post, deadletter.Path + "/{app}/{letter}/replay", "", operators, deadletter.ActionRequest{}, bodyOptional, (*Service).handleDeadLettersOf},
		{post, deadletter.Path + "/{app}/{letter}/drop", "", operators, deadletter.ActionRequest{}, bodyOptional, (*Service).handleDeadLettersOf},

		// The gateway itself
		{get, "/", "", nobodys, nil, 0, (*Service).handleLanding},
		{get, "/v1/routes", "", nobodys, nil, 0, (*Service).handleRoutes},
		{get, "/problems/", "", nobodys, nil, 0, (*Service).handleProblems},
		{get, "/problems/{type}", "", nobodys, nil, 0, (*Service).handleProblem},
	}
}
