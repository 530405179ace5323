package conformance_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapr/durabletask-go/workflow"

	"github.com/dishmesh/dishmesh/services/internal/conformance"
	"github.com/dishmesh/dishmesh/services/internal/saga/sagatest"
)

// quiet is a watcher that only counts.
type quiet struct {
	mu   sync.Mutex
	done []conformance.Result
}

func (q *quiet) Started(conformance.Check)      {}
func (q *quiet) Said(conformance.Check, string) {}
func (q *quiet) Done(r conformance.Result) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.done = append(q.done, r)
}

// small are times for doubles: few messages, and no waiting for what never comes.
func small() conformance.Times {
	return conformance.Times{ShortOutage: time.Second, LongOutage: 5 * time.Second, Part: 0.2, Patience: 16 * time.Second, Orders: 3}
}

func execute(t *testing.T, b *bench, p conformance.Platform, names ...string) conformance.Report {
	t.Helper()
	checks, err := conformance.Select(names)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	s := conformance.Suite{Profile: "double", Bench: b, Platform: p, Times: small(), Checks: checks, Run: "run", Watch: &quiet{}}
	return s.Execute(t.Context())
}

// inMemory are the checks that a double in memory can be put to.
func inMemory() []string {
	var names []string
	for _, c := range conformance.Checks() {
		if c.Area == conformance.Events || c.Area == conformance.State {
			names = append(names, c.Name)
		}
	}
	return names
}

func TestGoodProfile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := execute(t, newBench(faults{}), nil, inMemory()...)
		if !r.OK || r.Interrupted {
			t.Errorf("ok = %v, interrupted = %v", r.OK, r.Interrupted)
		}
		if got, want := len(r.Results), len(inMemory()); got != want {
			t.Errorf("%d results, want %d", got, want)
		}
		for _, x := range r.Results {
			want := conformance.Kept
			switch x.Name {
			case "poison", "dead-letter":
				want = conformance.KeptOnTop
			case "no-blocking": // it keeps the order of a partition
				want = conformance.NotKept
			}
			if x.Verdict != want {
				t.Errorf("%s: %s (%s), want %s", x.Name, x.Verdict, x.Reason, want)
			}
			if x.Did == "" || x.Figure == "" || len(x.Figures) == 0 {
				t.Errorf("%s does not say what it did and found: %+v", x.Name, x.Outcome)
			}
		}
	})
}

// Every check must see the fault that it is there for.
func TestBadProfiles(t *testing.T) {
	for _, c := range []struct {
		check string
		fault string
		bad   faults
		want  conformance.Verdict
		say   string
	}{
		{"first-subscription", "hears the newest only", faults{newest: true}, conformance.NotKept, "before the first subscription"},
		{"order-one-key", "reorders two", faults{reorder: true}, conformance.KeptOnTop, "takes all 60 in, in order"},
		{"order-one-key", "loses one", faults{lose: true}, conformance.NotKept, "never came (key-01/1"},
		{"order-one-key", "parallel workers", faults{parallel: true}, conformance.KeptOnTop, "takes all 60 in, in order"},
		{"order-many-keys", "reorders two", faults{reorder: true}, conformance.KeptOnTop, "takes all 200 in, in order"},
		{"order-replicas", "parallel workers", faults{parallel: true}, conformance.KeptOnTop, "takes all 160 in, in order"},
		{"order-replicas", "parallel workers and no ETags", faults{parallel: true, ignoreETag: true, ignoreCreate: true}, conformance.NotKept, "our consumer"},
		{"order-many-keys", "loses one", faults{lose: true}, conformance.NotKept, "1 of 200"},
		{"redelivery", "drops what failed", faults{dropFailed: true}, conformance.NotKept, "after a failure"},
		{"no-blocking", "parallel workers", faults{parallel: true}, conformance.Kept, ""},
		{"poison", "loses one behind it", faults{lose: true}, conformance.NotKept, "behind the poisoned event"},
		{"dead-letter", "drops letters", faults{noLetters: true}, conformance.NotKept, "no letter of bad, refused, large"},
		{"consumer-sidecar-killed", "drops what was in flight", faults{dropInFlight: true}, conformance.NotKept, "never came"},
		{"consumer-app-killed", "drops what was in flight", faults{dropInFlight: true}, conformance.NotKept, "never came"},
		{"replicas-share", "one gets all", faults{oneReplica: true}, conformance.NotKept, "one replica got nearly everything"},
		{"replicas-share", "both get all", faults{everybody: true}, conformance.NotKept, "both handled"},
		{"replica-killed", "no take-over", faults{noTakeover: true}, conformance.NotKept, "never came"},
		{"large-event", "swallows", faults{swallowLarge: true}, conformance.NotKept, "acknowledged and never came"},
		{"large-event", "cuts", faults{cutLarge: true}, conformance.NotKept, "damaged"},
		{"broker-crash", "forgets", faults{forgetOnKill: true}, conformance.NotKept, "never came"},
		{"broker-outage-short", "loses one", faults{lose: true}, conformance.NotKept, "never came"},
		{"broker-outage-long", "loses one", faults{lose: true}, conformance.NotKept, "never came"},
		{"transaction", "half done", faults{half: true}, conformance.NotKept, "left"},
		{"transaction", "ignores ETags", faults{ignoreETag: true}, conformance.NotKept, "gave <nil>"},
		{"etag", "ignores ETags", faults{ignoreETag: true}, conformance.NotKept, "stale ETag gave <nil>"},
		{"create-only", "ignores create", faults{ignoreCreate: true}, conformance.NotKept, "6 writers created one key"},
		{"lost-update", "ignores ETags", faults{ignoreETag: true}, conformance.NotKept, "the number is"},
		{"ttl", "forgets nothing", faults{noTTL: true}, conformance.NotKept, "still there"},
		{"ttl", "forgets all", faults{ttlForAll: true}, conformance.NotKept, "without a life were forgotten"},
		{"big-values", "cuts", faults{cutValues: true}, conformance.NotKept, "changed"},
		{"read-your-writes", "stale replica", faults{staleReads: true}, conformance.NotKept, "replica 1 read"},
		{"crash-in-transaction", "half done", faults{halfOnKill: true}, conformance.NotKept, "half done"},
		{"store-crash", "forgets", faults{forgetOnKill: true}, conformance.NotKept, "was acknowledged"},
	} {
		t.Run(c.check+" "+c.fault, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := execute(t, newBench(c.bad), nil, c.check)
				if len(r.Results) != 1 {
					t.Fatalf("%d results", len(r.Results))
				}
				x := r.Results[0]
				if x.Verdict != c.want || !strings.Contains(x.Reason, c.say) {
					t.Errorf("%s: %q, %q; want %s: …%s…", x.Verdict, x.Figure, x.Reason, c.want, c.say)
				}
				if relied := x.ReliedOn != ""; r.OK == (relied && c.want != conformance.Kept && c.want != conformance.KeptOnTop) {
					t.Errorf("the report is ok = %v", r.OK)
				}
			})
		})
	}
}

// deaf is an engine that takes events and forgets them.
type deaf struct{ conformance.Engine }

func (deaf) RaiseEvent(context.Context, string, string, ...workflow.RaiseEventOptions) error {
	return nil
}

type engineLog struct{}

func (engineLog) Debug(...any)          {}
func (engineLog) Debugf(string, ...any) {}
func (engineLog) Info(...any)           {}
func (engineLog) Infof(string, ...any)  {}
func (engineLog) Warn(...any)           {}
func (engineLog) Warnf(string, ...any)  {}
func (engineLog) Error(...any)          {}
func (engineLog) Errorf(string, ...any) {}

// workflows is a bench with a real engine in this process, which nothing kills.
type workflows struct {
	*bench
	client *workflow.Client
}

func (w workflows) Node(ctx context.Context, spec conformance.NodeSpec) (conformance.Node, error) {
	if err := w.client.StartWorker(ctx, spec.Workflows); err != nil {
		return nil, err
	}
	return w.bench.Node(ctx, spec)
}

func TestWorkflows(t *testing.T) {
	for _, c := range []struct {
		name string
		wrap func(conformance.Engine) conformance.Engine
		want conformance.Verdict
		say  string
	}{
		{"good", func(e conformance.Engine) conformance.Engine { return e }, conformance.Kept, ""},
		{"forgets events", func(e conformance.Engine) conformance.Engine { return deaf{e} }, conformance.NotKept, "never ended"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := workflows{newBench(faults{}), workflow.NewClientWithLogger(sagatest.Engine(t), engineLog{})}
			b.engine = c.wrap(b.client)
			checks, err := conformance.Select([]string{"workflow-sidecar-killed"})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			times := small()
			times.Part, times.Patience = 0.1, 2*time.Second
			s := conformance.Suite{Bench: b, Times: times, Checks: checks, Run: "run", Watch: &quiet{}}
			r := s.Execute(t.Context())
			if x := r.Results[0]; x.Verdict != c.want || !strings.Contains(x.Reason, c.say) {
				t.Errorf("%s: %q, %q; want %s: …%s…", x.Verdict, x.Figure, x.Reason, c.want, c.say)
			}
		})
	}
}

// town is a platform that ends as it is told.
type town struct{ conformance.OrdersReport }

func (s town) Orders(context.Context, int, func(string)) (conformance.OrdersReport, error) {
	return s.OrdersReport, nil
}

func TestOrders(t *testing.T) {
	for _, c := range []struct {
		name string
		town conformance.Platform
		want conformance.Verdict
		say  string
	}{
		{"all ended", town{conformance.OrdersReport{Placed: 3, Ended: 3, Held: 6}}, conformance.Kept, ""},
		{"one is stuck", town{conformance.OrdersReport{Placed: 3, Ended: 2, Stuck: 1, Held: 6}}, conformance.NotKept, "1 stuck"},
		{"one ended wrongly", town{conformance.OrdersReport{Placed: 3, Ended: 3, Unexpected: 1, Held: 6}}, conformance.NotKept, "1 ended as they must not"},
		{"the audit is red", town{conformance.OrdersReport{Placed: 3, Ended: 3, Held: 5, Broken: []string{"money: 5"}}}, conformance.NotKept, "money: 5"},
		{"no platform", nil, conformance.NotApplicable, "no platform"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := execute(t, newBench(faults{}), c.town, "orders")
			if x := r.Results[0]; x.Verdict != c.want || !strings.Contains(x.Reason, c.say) {
				t.Errorf("%s: %q; want %s: …%s…", x.Verdict, x.Reason, c.want, c.say)
			}
		})
	}
}

func TestInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		checks, err := conformance.Select([]string{"broker-outage-long", "order-one-key"})
		if err != nil {
			t.Fatal(err)
		}
		b := newBench(faults{})
		defer b.Close()
		time.AfterFunc(4*time.Second, cancel)
		s := conformance.Suite{Bench: b, Times: small(), Checks: checks, Run: "run", Watch: &quiet{}}
		r := s.Execute(ctx)
		if !r.Interrupted || len(r.Results) != 1 || r.Results[0].Name != "order-one-key" {
			t.Errorf("interrupted = %v, results %+v", r.Interrupted, r.Results)
		}
	})
}

func TestSelect(t *testing.T) {
	if _, err := conformance.Select([]string{"order-one-key", "speed"}); err == nil || !strings.Contains(err.Error(), `"speed": choose from first-subscription, order-one-key,`) {
		t.Errorf("an unknown name gives %v", err)
	}
	checks, err := conformance.Select([]string{"ttl", "order-one-key"})
	if err != nil || len(checks) != 2 || checks[0].Name != "order-one-key" {
		t.Errorf("got %v, %v", checks, err)
	}
	seen := map[string]bool{}
	for _, c := range conformance.Checks() {
		if seen[c.Name] || c.Promise == "" {
			t.Errorf("check %q is there twice or promises nothing", c.Name)
		}
		seen[c.Name] = true
	}
}
