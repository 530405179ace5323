package customer

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// News is either a live event of an order or the order as it was read.
type News struct {
	Event *publicapi.Event
	Order *orderapi.Order
}

// withoutStream is how often an order is read when there is no live stream of it.
const withoutStream = 500 * time.Millisecond

// errEnded ends the watchers of an order.
var errEnded = errors.New("the order has ended")

// Follow hands the news of an order to see, one at a time and from its first event on, until see reports the end by
// returning false. It holds one live stream, which costs the platform least, as an order has few events, and reads
// the order (conditionally, by ETag) only every so often, in case the stream missed something; where there is no
// stream, every 500 ms. A platform that is down for a while is waited for, until ctx is done.
func (c *Customer) Follow(ctx context.Context, id string, every time.Duration, see func(News) bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	news := make(chan News)
	tell := func(n News) error {
		select {
		case news <- n:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	streamless := make(chan struct{})
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		// "0" is before the first event: what happened until now is replayed.
		err := c.API.Live(ctx, "/v1/orders/"+id+"/live", "0", func(e publicapi.Event) error { return tell(News{Event: &e}) })
		if err != nil && ctx.Err() == nil {
			close(streamless)
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		if err := c.watch(ctx, id, every, streamless, tell); err != nil {
			cancel(err)
		}
	}()
	var err error
	for running := 2; running > 0; {
		select {
		case n := <-news:
			if err == nil && ctx.Err() == nil && !see(n) {
				err = errEnded
				cancel(errEnded)
			}
		case <-done:
			running--
		}
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, errEnded) {
		return cause
	}
	return nil
}

// watch reads the order every so often and tells when it has changed. It returns an error when the order can't be
// read for good.
func (c *Customer) watch(ctx context.Context, id string, every time.Duration, streamless <-chan struct{}, tell func(News) error) error {
	etag := ""
	for {
		timer := time.NewTimer(every)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-streamless:
			timer.Stop()
			streamless, every = nil, min(every, withoutStream)
			continue
		case <-timer.C:
		}
		var o orderapi.Order
		var answer publicapi.Response
		opts := []publicapi.Option{publicapi.Into(&answer)}
		if etag != "" {
			opts = append(opts, publicapi.IfNoneMatch(etag))
		}
		err := c.API.Do(ctx, http.MethodGet, "/v1/orders/"+id, nil, &o, opts...)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && problem.Permanent(err):
			return err
		case err != nil || answer.Status == http.StatusNotModified:
			continue
		}
		etag = answer.Header.Get("ETag")
		if tell(News{Order: &o}) != nil {
			return nil
		}
	}
}
