package conformance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"hash/fnv"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/conformance"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/topic"
)

// faults are what a double does wrong.
type faults struct {
	lose           bool // one event of a topic is acknowledged and dropped
	reorder        bool // two events of a key change places
	parallel       bool // every event has a worker of its own
	dropFailed     bool // what a handler fails with is not delivered again
	dropInFlight   bool // what was being handled when a process died is not delivered again
	noTakeover     bool // what a dead replica held stays with it
	oneReplica     bool // one replica gets everything
	everybody      bool // every replica gets everything
	forgetOnKill   bool // the last acknowledged events and writes are gone after a kill of their server
	swallowLarge   bool // large events are acknowledged and dropped
	cutLarge       bool // large events come damaged
	noLetters      bool // dead letters are acknowledged and dropped
	newest         bool // a subscription hears only what comes after it
	ignoreETag     bool
	ignoreCreate   bool
	half           bool // a refused transaction leaves what it had written until then
	noTTL          bool
	ttlForAll      bool // every key is forgotten
	staleReads     bool // the second replica reads what was there before
	cutValues      bool
	halfOnKill     bool // a killed sidecar leaves a transaction half done
	lateAfterError bool // a failing event comes again only after a minute
}

const partitions = 6

// bench is a double of a profile, all in memory.
type bench struct {
	faults
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu     sync.Mutex
	topics map[string][]record
	groups map[string]bool
	nodes  []*node
	shared map[string]*node
	stores map[string]*store
	turn   int
	down   bool
	// storeDown says that the database is away.
	storeDown bool
	lost      map[string]bool
	held      map[string]*record
	engine    conformance.Engine
	closed    bool
}

type record struct {
	key  string
	body []byte
	gone bool
}

func newBench(f faults) *bench {
	ctx, stop := context.WithCancel(context.Background())
	return &bench{faults: f, ctx: ctx, stop: stop, topics: map[string][]record{}, groups: map[string]bool{}, shared: map[string]*node{},
		stores: map[string]*store{}, lost: map[string]bool{}, held: map[string]*record{}}
}

func (b *bench) Versions() map[string]string { return map[string]string{"Dapr": "none", "double": "1"} }

func (b *bench) Close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.stop()
	b.wg.Wait()
}

func (b *bench) Broker() (conformance.Server, error) { return brokerServer{b}, nil }

func (b *bench) Store() (conformance.Server, error) { return storeServer{b}, nil }

func (b *bench) Shared(ctx context.Context, app string, instance int) (conformance.Node, error) {
	key := app + strconv.Itoa(instance)
	b.mu.Lock()
	n := b.shared[key]
	b.mu.Unlock()
	if n != nil {
		return n, nil
	}
	made, err := b.Node(ctx, conformance.NodeSpec{App: app, Instance: instance})
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shared[key] = made.(*node)
	return made, nil
}

func (b *bench) Node(_ context.Context, spec conformance.NodeSpec) (conformance.Node, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := &node{b: b, spec: spec, sidecarUp: true}
	n.life, n.die = context.WithCancel(b.ctx)
	b.nodes = append(b.nodes, n)
	if b.stores[spec.App] == nil {
		b.stores[spec.App] = newStore(b.faults)
	}
	for _, t := range spec.Topics {
		for p := range partitions {
			group := spec.App + "|" + t + "|" + strconv.Itoa(p)
			if b.everybody {
				group += "|" + strconv.Itoa(spec.Instance)
			}
			if b.groups[group] {
				continue
			}
			b.groups[group] = true
			from := 0
			if b.newest {
				from = len(b.topics[t])
			}
			b.wg.Go(func() { b.dispatch(spec, t, p, from) })
		}
	}
	return n, nil
}

// dispatch delivers one partition of a topic to an app, or in parallel where the double does so.
func (b *bench) dispatch(spec conformance.NodeSpec, of string, partition, from int) {
	skip := false // the next event went with the sidecar that had fetched it
	for i := from; b.ctx.Err() == nil; {
		b.mu.Lock()
		var r record
		have := i < len(b.topics[of])
		if have {
			r = b.topics[of][i]
		}
		b.mu.Unlock()
		if !have {
			b.sleep(10 * time.Millisecond)
			continue
		}
		i++
		if r.gone || partitionOf(r.key) != partition {
			continue
		}
		switch {
		case b.parallel:
			b.wg.Go(func() { b.deliver(spec, of, partition, r) })
		case skip:
			skip = false
		default:
			skip = b.deliver(spec, of, partition, r)
		}
	}
}

// deliver offers an event until somebody takes it. lost says that more went with a node that died.
func (b *bench) deliver(spec conformance.NodeSpec, of string, partition int, r record) (lost bool) {
	for b.ctx.Err() == nil {
		n := b.choose(spec, partition)
		if n == nil {
			b.sleep(5 * time.Millisecond)
			continue
		}
		ok, died := n.offer(of, r.body)
		switch {
		case died && b.dropInFlight:
			return true
		case ok, !died && b.dropFailed:
			return false
		case !died && b.lateAfterError:
			b.sleep(time.Minute)
		}
		b.sleep(20 * time.Millisecond)
	}
	return false
}

// choose gives the replica that a partition belongs to, nil while there is none.
func (b *bench) choose(spec conformance.NodeSpec, partition int) *node {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return nil
	}
	var alive []*node
	owners := 0
	for _, n := range b.nodes {
		if n.spec.App != spec.App || n.closed || b.everybody && n.spec.Instance != spec.Instance {
			continue
		}
		owners++
		if n.sidecarUp && n.life.Err() == nil {
			alive = append(alive, n)
		}
	}
	switch {
	case len(alive) == 0, b.noTakeover && len(alive) < owners && partition%owners == 0:
		return nil
	case b.oneReplica:
		return alive[0]
	case b.parallel: // whoever is next, as brokers without partitions do it
		b.turn++
		return alive[b.turn%len(alive)]
	}
	return alive[partition%len(alive)]
}

func (b *bench) sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-b.ctx.Done():
	}
}

func partitionOf(key string) int {
	h := fnv.New32a()
	_, _ = io.WriteString(h, key)
	return int(h.Sum32() % partitions)
}

type node struct {
	b         *bench
	spec      conformance.NodeSpec
	sidecarUp bool
	closed    bool
	epoch     int
	life      context.Context
	die       context.CancelFunc
}

// offer makes one delivery. died says that the app or the sidecar went away meanwhile.
func (n *node) offer(of string, body []byte) (ok, died bool) {
	n.b.mu.Lock()
	life, epoch := n.life, n.epoch
	n.b.mu.Unlock()
	req := httptest.NewRequestWithContext(life, http.MethodPost, topic.Path(of), bytes.NewReader(body))
	rec := httptest.NewRecorder()
	n.spec.Handler.ServeHTTP(rec, req)
	n.b.mu.Lock()
	died = life.Err() != nil || epoch != n.epoch
	n.b.mu.Unlock()
	if died || rec.Code != http.StatusOK {
		return false, died
	}
	var a struct {
		Status string `json:"status"`
	}
	return json.Unmarshal(rec.Body.Bytes(), &a) == nil && a.Status == "SUCCESS", false
}

var errAway = errors.New("it is away")

// maxEvent is what the double's broker takes.
const maxEvent = 1_100_000

func (n *node) Publish(_ context.Context, of string, e cloudevent.Event) error {
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	b := n.b
	b.sleep(time.Millisecond)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down || b.closed {
		return errAway
	}
	large := len(body) > 800_000
	if len(body) > maxEvent && !b.swallowLarge {
		return errors.New("too large")
	}
	r := record{key: e.Subject, body: body}
	number, _ := strconv.Atoi(e.Sequence)
	probed := strings.Contains(e.Subject, ".key-")
	switch {
	case b.lose && probed && number == 1 && !b.lost[of]:
		b.lost[of] = true
		r.gone = true
	case b.swallowLarge && large, b.noLetters && e.Type == cloudevent.Prefix+"dead-letter":
		r.gone = true
	case b.cutLarge && large:
		r.body = bytes.Replace(body, []byte("conformance.conformance"), []byte("conformance-conformance"), 1)
	}
	held := b.held[of]
	switch {
	case b.reorder && probed && number == 2 && held == nil:
		b.held[of] = &r // it comes after the third
		return nil
	case held != nil && held.key == r.key && number == 3:
		b.topics[of] = append(b.topics[of], r, *held)
		return nil
	}
	b.topics[of] = append(b.topics[of], r)
	return nil
}

// Invoke calls the first node of the app.
func (n *node) Invoke(ctx context.Context, call sidecar.Call) error {
	n.b.mu.Lock()
	i := slices.IndexFunc(n.b.nodes, func(o *node) bool { return o.spec.App == call.App && o.spec.Handler != nil })
	if i < 0 {
		n.b.mu.Unlock()
		return errAway
	}
	h := n.b.nodes[i].spec.Handler
	n.b.mu.Unlock()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(ctx, call.Method, call.Path, nil))
	if rec.Code != http.StatusOK {
		return errAway
	}
	return json.Unmarshal(rec.Body.Bytes(), call.Out)
}

func (n *node) State() sidecar.Store {
	n.b.mu.Lock()
	defer n.b.mu.Unlock()
	return view{n.b.stores[n.spec.App], n}
}

func (n *node) Engine() conformance.Engine { return n.b.engine }

func (n *node) WorkflowWorkers(context.Context) (int, error) { return 1, nil }

func (n *node) KillSidecar() error {
	n.b.mu.Lock()
	defer n.b.mu.Unlock()
	n.sidecarUp = false
	n.epoch++
	n.b.stores[n.spec.App].killed(n.b.halfOnKill, false)
	return nil
}

func (n *node) StartSidecar(context.Context) error {
	n.b.mu.Lock()
	defer n.b.mu.Unlock()
	n.sidecarUp = true
	return nil
}

func (n *node) KillApp() error {
	n.die()
	return nil
}

func (n *node) StartApp(context.Context) error {
	n.b.mu.Lock()
	defer n.b.mu.Unlock()
	n.life, n.die = context.WithCancel(n.b.ctx)
	return nil
}

func (n *node) Close() {
	n.b.mu.Lock()
	defer n.b.mu.Unlock()
	n.closed = true
	n.b.nodes = slices.DeleteFunc(n.b.nodes, func(o *node) bool { return o == n })
}

type brokerServer struct{ b *bench }

func (s brokerServer) Name() string { return "double" }

func (s brokerServer) Kill() error {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.down = true
	if s.b.forgetOnKill {
		for _, list := range s.b.topics {
			for i := max(0, len(list)-20); i < len(list); i++ {
				list[i].gone = true
			}
		}
	}
	return nil
}

func (s brokerServer) Start(context.Context) error {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.down = false
	return nil
}

type storeServer struct{ b *bench }

func (s storeServer) Name() string { return "double" }

func (s storeServer) Kill() error {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.storeDown = true
	for _, st := range s.b.stores {
		st.killed(false, s.b.forgetOnKill)
	}
	return nil
}

func (s storeServer) Start(context.Context) error {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.storeDown = false
	return nil
}
