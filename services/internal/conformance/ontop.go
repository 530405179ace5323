package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// adapter is the services' own topic adapter in front of a probe: what the probe sees is what a service would.
type adapter struct {
	app  string
	node func() sidecar.Publisher // set once the node runs
}

// handler serves deliveries of a topic with the services' adapter.
func (a adapter) handler(ctx context.Context, of string, schedule topic.Schedule, h topic.Handler) http.Handler {
	r := web.Router()
	s := topic.New(ctx, a.app, publisherOf(a.node), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	s.Handle(r, topic.Subscription{Topic: of, Schedule: schedule, Types: []string{entityOf(of) + "." + action}, Handler: h})
	return r
}

// publisherOf publishes through a node that is not there yet when it is made.
type publisherOf func() sidecar.Publisher

// Publish implements sidecar.Publisher.
func (p publisherOf) Publish(ctx context.Context, topic string, e cloudevent.Event) error {
	return p().Publish(ctx, topic, e)
}

// errRefused is what a handler of a check fails with.
var errRefused = errors.New("the check wants this event to fail")

// handle lets the probe decide on an event that came through the adapter.
func (p *probe) handle(who string) topic.Handler {
	return func(ctx context.Context, e cloudevent.Event) error {
		body, err := json.Marshal(e)
		if err != nil {
			return err
		}
		a := p.take(ctx, body, who)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case a.code == http.StatusUnprocessableEntity:
			return problem.Wrap(errRefused, problem.InvalidRequest, "the check wants this event to fail for good")
		case a.code != 0 || a.status != "":
			return errRefused
		}
		return nil
	}
}

// listenAdapted starts a node with the services' adapter in front of p. letters, where it is set, gets the dead letters
// of the topic, which the same app subscribes to.
func (e *Env) listenAdapted(ctx context.Context, at pair, p *probe, schedule topic.Schedule, letters *letterBox) (*listening, error) {
	from, err := e.Bench.Shared(ctx, publisher, 0)
	if err != nil {
		return nil, err
	}
	var node Node
	started := make(chan struct{})
	a := adapter{app: at.app, node: func() sidecar.Publisher { <-started; return node }}
	events := a.handler(ctx, at.topic(), schedule, p.handle(replica(0)))
	spec := NodeSpec{App: at.app, Topics: []string{at.topic()}, Handler: events}
	if letters != nil {
		dead := topic.DeadLetterTopic(at.topic(), at.app)
		spec.Topics = append(spec.Topics, dead)
		spec.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/"+dead) {
				letters.ServeHTTP(w, r)
				return
			}
			events.ServeHTTP(w, r)
		})
	}
	if node, err = e.Bench.Node(ctx, spec); err != nil {
		close(started)
		return nil, err
	}
	close(started)
	l := &listening{ledger: &ledger{run: p.run, topic: at.topic(), pub: from}, nodes: []Node{node}}
	if err := greet(ctx, from, at.topic(), p, replica(0)); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// readLetter takes the dead letter out of a delivery.
func readLetter(body []byte) (topic.DeadLetter, cloudevent.Event, error) {
	var e cloudevent.Event
	var l topic.DeadLetter
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&e); err != nil {
		return l, e, err
	}
	return l, e, e.Into(&l)
}

// letterBox collects dead letters.
type letterBox struct {
	run string
	got chan topic.DeadLetter
}

func newLetterBox(run string) *letterBox {
	return &letterBox{run: run, got: make(chan topic.DeadLetter, 100)}
}

// ServeHTTP implements http.Handler for the dead-letter topic.
func (b *letterBox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		if l, _, err := readLetter(body); err == nil && bytes.Contains(l.Original, []byte(b.run)) {
			select {
			case b.got <- l:
			default:
			}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"status":"SUCCESS"}`))
}
