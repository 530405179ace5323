package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// action is what happened in every event of the checks, as the last part of its type.
const action = "probed"

// entityOf is the aggregate type of a topic, which is also the app that owns it.
func entityOf(topic string) string { return strings.TrimPrefix(topic, cloudevent.Prefix) }

// subject is a key made different for every run.
func subject(run, key string) string { return run + "." + key }

// payload is the data of an event of a check.
type payload struct {
	Run string `json:"run"`
	N   int    `json:"n"` // within the key, from 1
	Pad string `json:"pad,omitempty"`
	Sum uint32 `json:"sum,omitempty"` // of Pad
}

// message names an event of a check.
type message struct {
	key string
	n   int
}

func (m message) String() string { return m.key + "/" + strconv.Itoa(m.n) }

// event makes the n-th event of a key on a topic, with pad bytes of ballast, as the owner of the topic would.
func event(run, topic, key string, n, pad int) cloudevent.Event {
	p := payload{Run: run, N: n}
	if pad > 0 {
		p.Pad = strings.Repeat("conformance.", pad/12+1)[:pad]
		p.Sum = crc32.ChecksumIEEE([]byte(p.Pad))
	}
	data, err := json.Marshal(p)
	if err != nil {
		panic(err) // numbers and text can always be written
	}
	entity, of := entityOf(topic), subject(run, key)
	return cloudevent.Event{
		SpecVersion: "1.0", ID: fmt.Sprintf("%s/%s/%d", entity, of, n), Source: "dishmesh/" + entity, Type: topic + "." + action,
		Subject: of, Time: time.Now().UTC(), DataContentType: "application/json", Sequence: strconv.Itoa(n),
		Trail: strings.TrimSpace(strings.Repeat(action+" ", min(n-1, cloudevent.TrailLength))), Data: data,
	}
}

// answer is what the probe does with a delivery.
type answer struct {
	// delay is how long handling takes.
	delay time.Duration
	// status is the sidecar's word for what to do next; empty means SUCCESS.
	status string
	// code is the HTTP status; 0 means 200.
	code int
}

var (
	handled = answer{}
	retry   = answer{status: "RETRY"}
	failure = answer{code: http.StatusInternalServerError}
)

// delivery is one arrival of an event at the probe.
type delivery struct {
	message
	at, end time.Time
	// attempt counts the arrivals of this event, from 1.
	attempt int
	// handled says that the probe answered SUCCESS and was still there to do so.
	handled bool
	whole   bool // the ballast is what was sent
	who     string
}

// probe is an application that takes events in and remembers everything.
type probe struct {
	run string
	// decide says what to do with a delivery; nil: handle it at once.
	decide func(delivery) answer

	mu       sync.Mutex
	seen     []delivery
	attempts map[message]int
	done     map[message]int
	greeted  map[string]int
}

func newProbe(run string, decide func(delivery) answer) *probe {
	return &probe{run: run, decide: decide, attempts: map[message]int{}, done: map[message]int{}, greeted: map[string]int{}}
}

// as is the probe's handler for one replica.
func (p *probe) as(who string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, who) })
}

func (p *probe) serve(w http.ResponseWriter, r *http.Request, who string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	a := p.take(r.Context(), body, who)
	if r.Context().Err() != nil {
		return // killed meanwhile
	}
	if a.code != 0 {
		w.WriteHeader(a.code)
		return
	}
	if a.status == "" {
		a.status = "SUCCESS"
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"status":%q}`, a.status)
}

// take records a delivery and says what to answer. What another run left is waved through.
func (p *probe) take(ctx context.Context, body []byte, who string) answer {
	var e cloudevent.Event
	var data payload
	if json.Unmarshal(body, &e) != nil || e.Into(&data) != nil || data.Run != p.run {
		return handled
	}
	m := message{strings.TrimPrefix(e.Subject, subject(p.run, "")), data.N}
	if strings.HasPrefix(m.key, greeting) {
		p.mu.Lock()
		p.greeted[who]++
		p.mu.Unlock()
		return handled
	}
	p.mu.Lock()
	p.attempts[m]++
	d := delivery{message: m, at: time.Now(), attempt: p.attempts[m], who: who,
		whole: crc32.ChecksumIEEE([]byte(data.Pad)) == data.Sum}
	i := len(p.seen)
	p.seen = append(p.seen, d)
	p.mu.Unlock()
	var a answer
	if p.decide != nil {
		a = p.decide(d)
	}
	if a.delay > 0 {
		select {
		case <-time.After(a.delay):
		case <-ctx.Done():
		}
	}
	ok := ctx.Err() == nil && a.code == 0 && (a.status == "" || a.status == "SUCCESS")
	p.mu.Lock()
	p.seen[i].end, p.seen[i].handled = time.Now(), ok
	if ok {
		p.done[m]++
	}
	p.mu.Unlock()
	return a
}

// deliveries is everything that has arrived so far, in the order of arrival.
func (p *probe) deliveries() []delivery {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]delivery(nil), p.seen...)
}

// handledCount is how many different events were handled.
func (p *probe) handledCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.done)
}

// busy tells whether something is being handled.
func (p *probe) busy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.seen {
		if d.end.IsZero() {
			return true
		}
	}
	return false
}

// has tells whether all of these were handled.
func (p *probe) has(want []message) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range want {
		if p.done[m] == 0 {
			return false
		}
	}
	return true
}

// heard tells how many greetings a replica got.
func (p *probe) heard(who string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.greeted[who]
}

// greeting starts the keys of the events by which a check finds out that its subscribers hear.
const greeting = "hello-"

// greetAll is how long every listener is given to hear something; after that one must do.
const greetAll = 20 * time.Second

// greet publishes until every listener has heard something: only then is a subscription known to be there. A broker may
// give everything to one of several; the check will say so.
func greet(ctx context.Context, from sidecar.Publisher, topic string, p *probe, listeners ...string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	begun := time.Now()
	for n := 1; ; n++ {
		err := from.Publish(ctx, topic, event(p.run, topic, greeting+strconv.Itoa(n), 1, 0))
		heard := 0
		for _, l := range listeners {
			if p.heard(l) > 0 {
				heard++
			}
		}
		if heard == len(listeners) || heard > 0 && time.Since(begun) > greetAll {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			if err != nil {
				return fmt.Errorf("no event could be published to %s: %w", topic, err)
			}
			return fmt.Errorf("no subscriber of %s heard anything within a minute", topic)
		}
	}
}

// until polls a condition; it reports false when ctx or the patience ends first.
func until(ctx context.Context, patience time.Duration, ok func() bool) bool {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok() {
			return true
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return ok()
		case <-ctx.Done():
			return false
		}
	}
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
