package conformance

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/inbox"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// orderOnTop is the order check through the services' own consumer: an inbox in the app's store, and the owner of the
// stream to be asked for what is missing. Each event's effect is a line in a list in the store, written with its
// receipt; the lists say in which order effects took place.
func (e *Env) orderOnTop(ctx context.Context, at pair, p *probe, nKeys, per, publishers, replicas int) (tally, error) {
	from, err := e.Bench.Shared(ctx, publisher, 0)
	if err != nil {
		return tally{}, err
	}
	l := &listening{ledger: &ledger{run: p.run, topic: at.topic(), pub: from}}
	defer l.close()
	owner, err := e.Bench.Node(ctx, NodeSpec{App: at.entity, Handler: l.ledger.history()})
	if err != nil {
		return tally{}, err
	}
	l.nodes = append(l.nodes, owner)
	var names []string
	var store sidecar.Store
	for i := range replicas {
		c := &consumer{probe: p, who: replica(i), ready: make(chan struct{})}
		n, err := e.Bench.Node(ctx, NodeSpec{App: at.app, Instance: i, Topics: []string{at.topic()}, Handler: c.handler()})
		if err != nil {
			close(c.ready)
			return tally{}, err
		}
		l.nodes, store = append(l.nodes, n), n.State()
		c.start(ctx, at, n)
		names = append(names, replica(i))
	}
	if err := greet(ctx, from, at.topic(), p, names...); err != nil {
		return tally{}, err
	}
	if err := l.sendEach(ctx, keys(nKeys), per, publishers); err != nil {
		return tally{}, err
	}
	sent := l.acknowledged()
	until(ctx, e.Times.Patience, func() bool { return p.has(sent) })
	var effects []delivery
	for _, key := range keys(nKeys) {
		item, err := store.Get(ctx, effectKey(p.run, key))
		if err != nil {
			return tally{}, err
		}
		for line := range strings.FieldsSeq(string(item.Value)) {
			n, err := strconv.Atoi(line)
			if err != nil {
				return tally{}, err
			}
			effects = append(effects, delivery{message: message{key, n}, handled: true, whole: true})
		}
	}
	return compare(sent, effects), ctx.Err()
}

func effectKey(run, key string) string { return "conformance/" + run + "/effects/" + key }

// history answers what consumers ask the owner of a stream for, as eventstore does.
func (l *ledger) history() http.Handler {
	r := web.Router()
	r.Handle(eventstore.Path(entityOf(l.topic), "")+"{id}", web.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		key := strings.TrimPrefix(mux.Vars(r)["id"], subject(l.run, ""))
		after, _ := strconv.Atoi(r.URL.Query().Get("after"))
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		l.mu.Lock()
		page := eventstore.Page{Version: l.begun[key], Events: []cloudevent.Event{}}
		l.mu.Unlock()
		for n := after + 1; n <= min(page.Version, after+limit); n++ {
			page.Events = append(page.Events, event(l.run, l.topic, key, n, 0))
		}
		return web.JSON(w, http.StatusOK, page)
	}))
	return r
}

// consumer is one replica that takes events in as a service does.
type consumer struct {
	*probe
	who   string
	store sidecar.Store
	next  http.Handler
	ready chan struct{}
	once  sync.Once
}

// handler waits for the node to be there: the adapter needs its sidecar.
func (c *consumer) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-c.ready:
			if c.next != nil {
				c.next.ServeHTTP(w, r)
				return
			}
		case <-r.Context().Done():
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})
}

// start builds the adapter over the node's sidecar.
func (c *consumer) start(ctx context.Context, at pair, n Node) {
	c.once.Do(func() {
		c.store = inbox.New(n.State())
		r := web.Router()
		s := topic.New(ctx, at.app, n, slog.New(slog.DiscardHandler), prometheus.NewRegistry()).WithInbox(c.store, n)
		s.Handle(r, topic.Subscription{Topic: at.topic(), Schedule: topic.Standard, Types: []string{at.entity + "." + action}, Handler: c.take})
		c.next = r
		close(c.ready)
	})
}

// take adds a line to the list of the event's key, in the transaction that holds the receipt.
func (c *consumer) take(ctx context.Context, e cloudevent.Event) error {
	key := strings.TrimPrefix(e.Subject, subject(c.run, ""))
	if strings.HasPrefix(key, greeting) || !strings.HasPrefix(e.Subject, c.run) {
		return c.probe.handle(c.who)(ctx, e)
	}
	if c.decide != nil {
		if err := pause(ctx, c.decide(delivery{message: message{key, e.Seq()}}).delay); err != nil {
			return err
		}
	}
	at := effectKey(c.run, key)
	item, err := c.store.Get(ctx, at)
	if err != nil {
		return err
	}
	op := sidecar.Op{Key: at, Value: slices.Concat(item.Value, []byte(" "+e.Sequence)), ETag: item.ETag, Create: !item.Exists()}
	if err := c.store.Transact(ctx, op); err != nil {
		return err
	}
	c.mu.Lock()
	c.done[message{key, e.Seq()}]++
	c.mu.Unlock()
	return nil
}
