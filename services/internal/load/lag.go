package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Events is how long events take to those who consume them, at a steady pace of orders. Its JSON keys are stable.
type Events struct {
	Rate   float64 `json:"rate"` // orders per second that were placed
	Orders int     `json:"orders"`
	Ended  int     `json:"ended"`
	Late   int     `json:"late"`
	// Consumers has the lag by consumer and topic: from the time of an event, which is before its commit, until its
	// consumer gets it. The slowest comes first.
	Consumers []Lag `json:"consumers"`
}

// Lag is how late one consumer gets the events of one topic. The quantiles are taken from a histogram, so they are
// as exact as its buckets.
type Lag struct {
	Consumer string  `json:"consumer"`
	Topic    string  `json:"topic"`
	Count    int64   `json:"count"`
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
}

// Aims of the lag of the last consumer, in milliseconds.
const (
	aimP50 = 50
	aimP99 = 300
)

// Last is the lag of the consumer that is last: the worst quantiles of all.
func (e Events) Last() (p50, p99 float64) {
	for _, l := range e.Consumers {
		p50, p99 = max(p50, l.P50), max(p99, l.P99)
	}
	return p50, p99
}

// LagMeter reads how late the consumers have got events so far.
type LagMeter interface {
	Lags(ctx context.Context) (LagCounts, error)
}

// LagCounts counts events by consumer and topic, in the buckets of their histograms.
type LagCounts map[[2]string][]Bucket

// Bucket counts what is at most so many seconds late, those of the buckets before it too.
type Bucket struct {
	Seconds float64
	Count   uint64
}

// Metrics reads the lags where the services show their metrics.
type Metrics struct {
	Ports map[string]int // of the services on this machine, by name
}

// lagMetric is the histogram of package topic.
const lagMetric = "event_lag_seconds"

// Lags implements LagMeter.
func (m Metrics) Lags(ctx context.Context) (LagCounts, error) {
	counts := LagCounts{}
	for app, port := range m.Ports {
		family, err := scrape(ctx, fmt.Sprintf("http://127.0.0.1:%d/metrics", port))
		if err != nil {
			return nil, fmt.Errorf("metrics of %s: %w", app, err)
		}
		for _, metric := range family.GetMetric() {
			topic := ""
			for _, l := range metric.GetLabel() {
				if l.GetName() == "topic" {
					topic = l.GetValue()
				}
			}
			var buckets []Bucket
			for _, b := range metric.GetHistogram().GetBucket() {
				buckets = append(buckets, Bucket{b.GetUpperBound(), b.GetCumulativeCount()})
			}
			counts[[2]string{app, topic}] = append(buckets, Bucket{math.Inf(1), metric.GetHistogram().GetSampleCount()})
		}
	}
	return counts, nil
}

func scrape(ctx context.Context, url string) (*dto.MetricFamily, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		return nil, err
	}
	return families[lagMetric], nil // a service that consumes nothing has none
}

// since takes what was counted before away.
func (c LagCounts) since(before LagCounts) []Lag {
	lags := []Lag{}
	for key, buckets := range c {
		now := slices.Clone(buckets)
		if old := before[key]; len(old) == len(now) && old[len(old)-1].Count <= now[len(now)-1].Count { // else it was started anew
			for i := range now {
				now[i].Count -= old[i].Count
			}
		}
		if n := now[len(now)-1].Count; n > 0 {
			lags = append(lags, Lag{key[0], key[1], int64(n), quantile(now, 0.5), quantile(now, 0.99)})
		}
	}
	slices.SortFunc(lags, func(a, b Lag) int {
		if a.P99 != b.P99 {
			return int(math.Copysign(1, b.P99-a.P99))
		}
		return strings.Compare(a.Consumer+a.Topic, b.Consumer+b.Topic)
	})
	return lags
}

// quantile is in milliseconds. Within a bucket the events are taken to be evenly spread; beyond the last finite one
// its bound is all that is known.
func quantile(buckets []Bucket, q float64) float64 {
	rank := q * float64(buckets[len(buckets)-1].Count)
	lower, below := 0.0, 0.0
	for _, b := range buckets {
		if n := float64(b.Count); n >= rank && n > below {
			if math.IsInf(b.Seconds, 1) {
				break
			}
			return math.Round((lower+(b.Seconds-lower)*(rank-below)/(n-below))*1e4) / 10
		}
		if !math.IsInf(b.Seconds, 1) {
			lower, below = b.Seconds, float64(b.Count)
		}
	}
	return math.Round(lower*1e4) / 10
}

// Print writes the lags as a Markdown table, with their ratio to what is aimed at.
func (e Events) Print(ew *errWriter) {
	p50, p99 := e.Last()
	ew.printf("\nEvents at %g orders per s: the last consumer gets them after %s / %s ms (p50 / p99), aim %d / %d, ratio %.2f / %.2f.\n\n",
		e.Rate, ms(p50), ms(p99), aimP50, aimP99, p50/aimP50, p99/aimP99)
	ew.printf("| consumer | topic | events | lag p50 / p99, ms |\n| --- | --- | --- | --- |\n")
	for _, l := range e.Consumers {
		ew.printf("| %s | %s | %d | %s / %s |\n", l.Consumer, l.Topic, l.Count, ms(l.P50), ms(l.P99))
	}
}
