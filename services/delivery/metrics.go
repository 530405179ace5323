package delivery

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
)

// metrics count what the dispatch comes to.
type metrics struct {
	events *prometheus.CounterVec
	search prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) metrics {
	m := metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "delivery_events_total", Help: "What happened to deliveries, by type of event."}, []string{"type"}),
		search: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "delivery_search_seconds", Help: "Time from the request of a delivery to its assignment.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}}),
	}
	reg.MustRegister(m.events, m.search)
	return m
}

// count takes in a plan that was carried out.
func (m metrics) count(p *plan) {
	for _, e := range p.change.Events {
		m.events.WithLabelValues(e.Type).Inc()
		if e.Type == deliveryapi.TypeCourierAssigned {
			m.search.Observe(p.now.Sub(p.d.RequestedAt).Seconds())
		}
	}
}
