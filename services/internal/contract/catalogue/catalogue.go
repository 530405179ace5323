// Package catalogue is the contracts of all owners, for tools that read everything. A service names the owners that
// it listens to instead.
package catalogue

import (
	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/contract"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
	"github.com/dishmesh/dishmesh/services/notification/notificationapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// Owners gives the contract of each service that publishes, by its app id.
func Owners() map[string]*contract.Set {
	return map[string]*contract.Set{
		userapi.App: userapi.Events, menuapi.App: menuapi.Events, pricingapi.App: pricingapi.Events,
		orderapi.App: orderapi.Events, paymentapi.App: paymentapi.Events, restaurantapi.App: restaurantapi.Events,
		deliveryapi.App: deliveryapi.Events, notificationapi.App: notificationapi.Events,
	}
}

// All is every event of the platform.
var All = contract.Union(
	userapi.Events, menuapi.Events, pricingapi.Events, orderapi.Events,
	paymentapi.Events, restaurantapi.Events, deliveryapi.Events, notificationapi.Events,
)
