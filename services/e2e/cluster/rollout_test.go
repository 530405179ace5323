package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/probe"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// visitors are requests that together need every service, as the people send them who use the platform.
func (s *site) visitors(t *T) []probe.Request {
	t.Helper()
	p := s.register(t)
	o := s.place(t, p, wish{})
	s.reaches(t, p, o.ID, 2*time.Minute, orderapi.Delivered)
	kitchen, courier, operator := s.staff(t, web.RoleKitchen, o.RestaurantID), s.staff(t, web.RoleCourier, ""), s.staff(t, web.RoleOperator, "")
	basket := s.town(t).Choose(rand.New(rand.NewPCG(1, 0)))
	return []probe.Request{
		s.raw("", http.MethodGet, "/v1/routes", nil), // the gateway itself
		s.raw("", http.MethodGet, "/v1/restaurants", nil),
		s.raw(p.token, http.MethodGet, "/v1/users/me", nil),
		s.raw(p.token, http.MethodPost, "/v1/quotes", basket),
		s.raw(p.token, http.MethodGet, "/v1/orders/"+o.ID, nil),
		s.raw(operator.token, http.MethodGet, "/v1/payments/"+o.ID, nil),
		s.raw(kitchen.token, http.MethodGet, "/v1/restaurants/"+o.RestaurantID+"/tickets", nil),
		s.raw(courier.token, http.MethodGet, "/v1/couriers/me", nil),
		s.raw(p.token, http.MethodGet, "/v1/notifications", nil),
		s.raw(operator.token, http.MethodGet, "/v1/analytics/summary", nil),
	}
}

// watched makes the visitors' requests at a steady pace, none of them twice, until stop is called.
func (s *site) watched(t *T, requests []probe.Request, rate float64) (stop func() probe.Summary) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var sum probe.Summary
	var done sync.WaitGroup
	done.Go(func() { sum = s.caller.Many(ctx, probe.Plan{Requests: requests, AtOnce: 64, Rate: rate}) })
	return func() probe.Summary {
		cancel()
		done.Wait()
		return sum
	}
}

// faultlessly wants no request to have failed.
func faultlessly(t *T, sum probe.Summary) {
	t.Helper()
	t.Figure("requests meanwhile that failed", fmt.Sprintf("%d of %d", sum.Bad, sum.Calls), "0")
	t.Figure("their latency, p50 / p99 / longest", fmt.Sprintf("%.0f / %.0f / %.0f ms", sum.Latency.P50, sum.Latency.P99, sum.Latency.Max), "")
	for _, p := range sum.Problems {
		t.Errorf("at %s: %s", p.At.UTC().Format(time.TimeOnly), p.Answer)
	}
}

const (
	// together is how many services lose a pod at once.
	together = 5
	// rolledOut is how many are rolled out at once. Each that starts takes processor time from all that answer, and calls that
	// take longer than 5 s are given up: five at once on two processors show the machine's end, and not the rollout's.
	rolledOut = 3
)

// TestRollingUpdates replaces every pod of every service while people use the platform.
func TestRollingUpdates(t *testing.T) {
	r := shows(t, "change", "Every service is rolled out under load: no request fails, and no saga is stuck.", "k8s/base/common/shutdown.yaml", "k8s/base/common/probes.yaml")
	stop := here.watched(r, here.visitors(r), 20)
	orders := here.background(r, 45, 4)
	start := time.Now()
	for group := range slices.Chunk(communication.Services(), rolledOut) {
		var all sync.WaitGroup
		errs := make([]error, len(group))
		for i, app := range group {
			all.Go(func() { errs[i] = here.Restart(r.Context(), communication.Namespace, "deployment/"+app, rolloutWithin) })
		}
		all.Wait()
		for _, err := range errs {
			if err != nil {
				r.Errorf("rollout: %v", err)
			}
		}
	}
	r.Figure("rollout of the ten services, three at once", fmt.Sprintf("%.0f s", time.Since(start).Seconds()), "")
	report := orders()
	faultlessly(r, stop())
	ended(r, report)
	r.Figure("requests of those who ordered that had to be repeated", fmt.Sprintf("%d %v", report.Retries, report.Errors), "0")
	if report.Retries > 0 {
		r.Errorf("%d requests of those who ordered were repeated: %v", report.Retries, report.Errors)
	}
	here.auditGreen(r)
}
