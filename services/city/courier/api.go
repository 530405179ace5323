package courier

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
)

const callRetries = 3

func (c *courier) fetchSelf(ctx context.Context) (deliveryapi.CourierView, error) {
	var v deliveryapi.CourierView
	err := c.api.Do(ctx, http.MethodGet, "/v1/couriers/me", nil, &v)
	return v, err
}

func (c *courier) goOnline(ctx context.Context) error {
	online := true
	in := deliveryapi.PresenceRequest{Online: &online, Lat: &c.at.Lat, Lon: &c.at.Lon}
	return c.api.Do(ctx, http.MethodPut, "/v1/couriers/me", in, nil, publicapi.Retry(callRetries))
}

// report tells where the courier is. A position that gets lost does no harm: the next one is on its way.
func (c *courier) report(ctx context.Context) {
	in := deliveryapi.PositionRequest{Lat: &c.at.Lat, Lon: &c.at.Lon}
	err := c.api.Do(ctx, http.MethodPut, "/v1/couriers/me/position", in, nil, publicapi.Timeout(2*time.Second))
	if err != nil {
		c.log.Debug("a position got lost", "err", err)
	}
}

func (c *courier) fetchDelivery(ctx context.Context, order string) (deliveryapi.Tracking, error) {
	var t deliveryapi.Tracking
	err := c.api.Do(ctx, http.MethodGet, "/v1/deliveries/"+url.PathEscape(order), nil, &t)
	return t, err
}

// post makes a step of a delivery: accept, decline, pickup or deliver. A repeat does no harm: a step that was
// made already is answered with 200 or 409.
func (c *courier) post(ctx context.Context, order, step string) (deliveryapi.Tracking, error) {
	var t deliveryapi.Tracking
	err := c.api.Do(ctx, http.MethodPost, "/v1/deliveries/"+url.PathEscape(order)+"/"+step, nil, &t,
		publicapi.Retry(callRetries))
	return t, err
}
