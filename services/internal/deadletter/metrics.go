package deadletter

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Pauses between two looks at the index for the metrics: after a change of this replica, and otherwise, because other
// replicas change it, too.
const (
	lookAfterChange = 2 * time.Second
	lookEvery       = 30 * time.Second
)

// depth is the metrics dead_letters and dead_letter_oldest_seconds by topic. They say what the store says, so they are
// right after a restart; of several replicas each says the same.
type depth struct {
	box           *Box
	count, oldest *prometheus.Desc

	mu     sync.Mutex
	looked bool // before that nothing is known, and nothing said
	topics []TopicDepth
}

func newDepth(b *Box) *depth {
	return &depth{box: b,
		count:  prometheus.NewDesc("dead_letters", "Dead letters that wait to be dealt with.", []string{"topic"}, nil),
		oldest: prometheus.NewDesc("dead_letter_oldest_seconds", "Time since the first failure of the oldest dead letter.", []string{"topic"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (d *depth) Describe(to chan<- *prometheus.Desc) { to <- d.count; to <- d.oldest }

// Collect implements prometheus.Collector. A topic without letters has depth and age 0.
func (d *depth) Collect(to chan<- prometheus.Metric) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.looked {
		return
	}
	now, seen := d.box.now(), map[string]bool{}
	for _, t := range d.topics {
		seen[t.Topic] = true
		to <- prometheus.MustNewConstMetric(d.count, prometheus.GaugeValue, float64(t.Count), t.Topic)
		to <- prometheus.MustNewConstMetric(d.oldest, prometheus.GaugeValue, max(0, now.Sub(t.Oldest).Seconds()), t.Topic)
	}
	for _, t := range d.box.subscriber.Topics() {
		if !seen[t] {
			to <- prometheus.MustNewConstMetric(d.count, prometheus.GaugeValue, 0, t)
			to <- prometheus.MustNewConstMetric(d.oldest, prometheus.GaugeValue, 0, t)
		}
	}
}

// look counts what the index has.
func (d *depth) look(ctx context.Context) error {
	h, err := d.box.head(ctx)
	if err != nil {
		return err
	}
	byTopic := depths{}
	err = d.box.scan(ctx, h.value.pages(), func(page []Entry) bool {
		for _, e := range page {
			byTopic.add(e)
		}
		return true
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.topics, d.looked = byTopic.sorted(), true
	return nil
}

// written notes that this replica has changed the index.
func (b *Box) written() {
	select {
	case b.dirty <- struct{}{}:
	default:
	}
}

// Run keeps the metrics true until ctx ends.
func (b *Box) Run(ctx context.Context) {
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.dirty:
			wait.Reset(lookAfterChange)
			select {
			case <-ctx.Done():
				return
			case <-wait.C:
			}
		case <-wait.C:
		}
		look, cancel := context.WithTimeout(ctx, 10*time.Second)
		if err := b.depth.look(look); err != nil && ctx.Err() == nil {
			b.log.Warn("dead letters not counted", "error", err)
		}
		cancel()
		wait.Reset(lookEvery)
	}
}
