package topic_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/correlation"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
	"github.com/dishmesh/dishmesh/services/internal/topic"
)

const orders = "fooddelivery.order"

type fixture struct {
	t        *testing.T
	pub      *sidecartest.Publisher
	metrics  *prometheus.Registry
	shutdown context.CancelFunc
	router   *mux.Router
}

// newFixture subscribes to orders on schedule. In a bubble of synctest the retries take no time.
func newFixture(t *testing.T, schedule topic.Schedule, h topic.Handler) *fixture {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &fixture{t: t, pub: &sidecartest.Publisher{}, metrics: prometheus.NewRegistry(), shutdown: cancel, router: mux.NewRouter()}
	s := topic.New(ctx, "payment", f.pub, slog.New(slog.DiscardHandler), f.metrics)
	s.Handle(f.router, topic.Subscription{Topic: orders, Schedule: schedule, Types: []string{"order.placed"}, Handler: h})
	return f
}

func (f *fixture) deliver(ctx context.Context, body string) (status string, took time.Duration) {
	f.t.Helper()
	start := time.Now()
	w := httptest.NewRecorder()
	f.router.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "POST", "/events/"+orders, strings.NewReader(body)))
	var answer struct{ Status string }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 {
		f.t.Fatalf("answer %d %s", w.Code, w.Body)
	}
	return answer.Status, time.Since(start)
}

func event() cloudevent.Event {
	return cloudevent.Event{SpecVersion: "1.0", ID: "order/ord_1/1", Source: "dishmesh/order", Type: "fooddelivery.order.placed", Subject: "ord_1", Sequence: "1",
		Time: time.Now().UTC(), CorrelationID: "ord_1", TraceParent: correlation.NewTraceParent(), Data: json.RawMessage(`{"order_id":"ord_1"}`)}
}

func encode(t *testing.T, e cloudevent.Event) string {
	t.Helper()
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (f *fixture) deadLetters() []topic.DeadLetter {
	f.t.Helper()
	var all []topic.DeadLetter
	for _, p := range f.pub.Sent() {
		if p.Topic != topic.DeadLetterTopic(orders, "payment") {
			f.t.Errorf("dead letter on %s", p.Topic)
		}
		if err := p.Event.Validate(); err != nil {
			f.t.Errorf("the dead letter is no valid event: %v", err)
		}
		var d topic.DeadLetter
		if err := p.Event.Into(&d); err != nil {
			f.t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

func (f *fixture) outcomes() map[string]float64 {
	f.t.Helper()
	families, err := f.metrics.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		if family.GetName() != "events_handled_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			got[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
		}
	}
	return got
}

// within reports whether what was waited is the schedule's pauses, each with its jitter.
func within(took, schedule time.Duration) bool {
	return math.Abs(float64(took-schedule)) <= topic.Jitter*float64(schedule)
}

func TestSchedules(t *testing.T) {
	for name, tt := range map[string]struct {
		schedule topic.Schedule
		fails    int // attempts that fail
		attempts int
		took     time.Duration
		dead     bool
	}{
		"at once":         {topic.Standard, 0, 1, 0, false},
		"the second time": {topic.Standard, 1, 2, time.Second, false},
		"the last time":   {topic.Standard, 3, 4, 7 * time.Second, false},
		"never":           {topic.Standard, 99, 4, 7 * time.Second, true},
		"money":           {topic.Money, 4, 5, 15 * time.Second, false},
		"money, never":    {topic.Money, 99, 5, 15 * time.Second, true},
		"without retries": {nil, 99, 1, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				attempts := 0
				f := newFixture(t, tt.schedule, func(context.Context, cloudevent.Event) error {
					attempts++
					if attempts <= tt.fails {
						return problem.New(problem.Unavailable, "try %d", attempts)
					}
					return nil
				})
				e := event()
				status, took := f.deliver(t.Context(), encode(t, e))
				if status != "SUCCESS" || attempts != tt.attempts || !within(took, tt.took) {
					t.Errorf("%s after %d attempts in %v; want SUCCESS after %d in %v", status, attempts, took, tt.attempts, tt.took)
				}
				outcome := "ok"
				var want []topic.DeadLetter
				if tt.dead {
					outcome = "dead"
					want = []topic.DeadLetter{{Topic: orders, App: "payment", Cause: fmt.Sprintf("unavailable: try %d", tt.attempts), Attempts: tt.attempts,
						First: e.Time, Last: e.Time.Add(took), Original: []byte(encode(t, e))}}
				}
				if diff := cmp.Diff(want, f.deadLetters()); diff != "" {
					t.Errorf("dead letters (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(map[string]float64{outcome: 1}, f.outcomes()); diff != "" {
					t.Errorf("outcomes (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// Pauses differ, so that those who failed together don't come back together, and by no more than is said.
func TestJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := map[time.Duration]bool{}
		for range 50 {
			attempts := 0
			f := newFixture(t, topic.Schedule{time.Second}, func(context.Context, cloudevent.Event) error {
				if attempts++; attempts == 1 {
					return errors.New("not yet")
				}
				return nil
			})
			_, took := f.deliver(t.Context(), encode(t, event()))
			if !within(took, time.Second) {
				t.Errorf("paused for %v, want 0.9 to 1.1 s", took)
			}
			seen[took] = true
		}
		if len(seen) < 25 {
			t.Errorf("%d different pauses of 50", len(seen))
		}
	})
}

// A dead letter can be traced back, and one cause of several deliveries has one id.
func TestDeadLetterEnvelope(t *testing.T) {
	f := newFixture(t, topic.Standard, func(context.Context, cloudevent.Event) error { return problem.New(problem.NotFound, "no such order") })
	e := event()
	if status, _ := f.deliver(t.Context(), encode(t, e)); status != "SUCCESS" {
		t.Fatal(status)
	}
	got := f.pub.Sent()[0].Event
	got.Time, got.Data = time.Time{}, nil
	want := cloudevent.Event{SpecVersion: "1.0", ID: "order/ord_1/1/dead/payment", Source: "dishmesh/payment", Type: "fooddelivery.dead-letter",
		Subject: "ord_1", DataContentType: "application/json", CorrelationID: "ord_1", TraceParent: e.TraceParent}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What trying again can't mend is dead-lettered at once.
func TestNoRetry(t *testing.T) {
	tooLarge := event()
	tooLarge.Data = json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`)
	early := event()
	early.Time = time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC) // before the time in the bubble
	other := event()
	other.SpecVersion, other.Subject = "0.3", ""
	for _, tt := range []struct {
		name, body, cause string
		handled           bool
	}{
		{"not JSON", "<xml/>", "malformed: invalid character '<' looking for beginning of value", false},
		{"empty", "", "malformed: unexpected end of JSON input", false},
		{"no event", `{"order_id":"ord_1"}`, "malformed: id is missing\nsource is missing\ntype is missing\nsubject is missing\nspecversion is \"\", not 1.0\ntype \"\" does not start with fooddelivery.\ndata is missing", false},
		{"another version", encode(t, other), "malformed: subject is missing\nspecversion is \"0.3\", not 1.0", false},
		{"too large", encode(t, tooLarge), fmt.Sprintf("the event has %d bytes, more than 1048576", len(encode(t, tooLarge))), false},
		{"refused", encode(t, early), "illegal-state-change: too late", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				handled := 0
				f := newFixture(t, topic.Money, func(context.Context, cloudevent.Event) error {
					handled++
					return fmt.Errorf("%w", problem.New(problem.IllegalState, "too late"))
				})
				status, took := f.deliver(t.Context(), tt.body)
				if status != "SUCCESS" || took != 0 || handled > 1 || (handled == 1) != tt.handled {
					t.Errorf("%s in %v, handled %d times", status, took, handled)
				}
				dead := f.deadLetters()
				if len(dead) != 1 || !strings.HasSuffix(dead[0].Cause, tt.cause) || dead[0].Attempts != 1 {
					t.Fatalf("%d dead letters, want one for %q", len(dead), tt.cause)
				}
				if got := append(dead[0].Original, tt.body[len(tt.body)-dead[0].Cut:]...); !bytes.Equal(got, []byte(tt.body)) {
					t.Error("the original is not as it came")
				}
				if size := len(f.pub.Sent()[0].Event.Data); size > 1000<<10 {
					t.Errorf("the dead letter has %d bytes, more than a broker takes", size)
				}
			})
		})
	}
}

// A record that is no JSON comes in an envelope of the sidecar's; its letter holds the record.
func TestUnreadableRecord(t *testing.T) {
	f := newFixture(t, topic.Money, func(context.Context, cloudevent.Event) error { return nil })
	status, _ := f.deliver(t.Context(), `{"specversion":"1.0","unreadable":"the record is no JSON object","data_base64":"PHhtbC8+"}`)
	dead := f.deadLetters()
	if status != "SUCCESS" || len(dead) != 1 || dead[0].Cause != "malformed: the record is no JSON object" || string(dead[0].Original) != "<xml/>" {
		t.Errorf("%s, dead letters %+v", status, dead)
	}
}

func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		f := newFixture(t, topic.Standard, func(context.Context, cloudevent.Event) error {
			if attempts++; attempts == 1 {
				panic("out of luck")
			}
			return nil
		})
		if status, took := f.deliver(t.Context(), encode(t, event())); status != "SUCCESS" || attempts != 2 || !within(took, time.Second) {
			t.Errorf("%s after %d attempts in %v", status, attempts, took)
		}
		always := newFixture(t, topic.Standard, func(context.Context, cloudevent.Event) error { panic("out of luck") })
		always.deliver(t.Context(), encode(t, event()))
		if dead := always.deadLetters(); len(dead) != 1 || dead[0].Cause != "panic: out of luck" {
			t.Errorf("dead letters: %+v", dead)
		}
	})
}

// A handler that hangs is given up on, and counts as one that failed.
func TestHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, topic.Schedule{time.Second}, func(ctx context.Context, _ cloudevent.Event) error {
			<-ctx.Done()
			return ctx.Err()
		})
		status, took := f.deliver(t.Context(), encode(t, event()))
		if status != "SUCCESS" || !within(took-20*time.Second, time.Second) {
			t.Errorf("%s in %v, want SUCCESS in about 21s", status, took)
		}
		if dead := f.deadLetters(); len(dead) != 1 || dead[0].Attempts != 2 {
			t.Errorf("dead letters: %+v", dead)
		}
	})
}

// A process that is asked to stop, or a delivery that is broken off, gives the event back to the broker.
func TestGivenBack(t *testing.T) {
	for name, stop := range map[string]func(f *fixture, cancel context.CancelFunc){
		"shutdown":      func(f *fixture, _ context.CancelFunc) { f.shutdown() },
		"delivery ends": func(_ *fixture, cancel context.CancelFunc) { cancel() },
	} {
		for _, at := range []time.Duration{0, 1500 * time.Millisecond, 4 * time.Second} {
			t.Run(fmt.Sprint(name, " at ", at), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFixture(t, topic.Standard, func(context.Context, cloudevent.Event) error { return errors.New("not yet") })
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					time.AfterFunc(at, func() { stop(f, cancel) })
					status, took := f.deliver(ctx, encode(t, event()))
					if status != "RETRY" || took != at {
						t.Errorf("%s in %v, want RETRY in %v", status, took, at)
					}
					if dead := f.deadLetters(); len(dead) != 0 {
						t.Errorf("dead letters: %+v", dead)
					}
				})
			})
		}
	}
}

// A dead letter that can't be written is no reason to lose the event.
func TestBrokerAway(t *testing.T) {
	f := newFixture(t, nil, func(context.Context, cloudevent.Event) error { return errors.New("no") })
	f.pub.Fail = func(string, cloudevent.Event) error {
		return problem.New(problem.Unavailable, "the broker does not answer")
	}
	for _, body := range []string{encode(t, event()), "malformed"} {
		if status, _ := f.deliver(t.Context(), body); status != "RETRY" {
			t.Errorf("%s, want RETRY", status)
		}
	}
}

func TestBodyBreaksOff(t *testing.T) {
	f := newFixture(t, nil, func(context.Context, cloudevent.Event) error { return nil })
	w := httptest.NewRecorder()
	f.router.ServeHTTP(w, httptest.NewRequest("POST", "/events/"+orders, io.MultiReader(strings.NewReader("{"), failing{})))
	if w.Code != 503 || len(f.pub.Sent()) != 0 {
		t.Errorf("%d, %d dead letters; want 503 so that it is delivered again", w.Code, len(f.pub.Sent()))
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// The handler works in the trace of the event.
func TestTrace(t *testing.T) {
	var got string
	f := newFixture(t, nil, func(ctx context.Context, _ cloudevent.Event) error {
		got = correlation.From(ctx).TraceParent
		return nil
	})
	e := event()
	f.deliver(t.Context(), encode(t, e))
	if got != e.TraceParent {
		t.Errorf("traceparent %q, want %q", got, e.TraceParent)
	}
}
