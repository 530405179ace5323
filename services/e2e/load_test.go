package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// loaded is what the tests need of load --json.
type loaded struct {
	Orders          int            `json:"orders"`
	Ended           int            `json:"ended"`
	Stuck           int            `json:"stuck"`
	Refused         int            `json:"refused"`
	OrdersPerSecond float64        `json:"orders_per_second"`
	Outcomes        map[string]int `json:"outcomes"`
	Unexpected      map[string]int `json:"unexpected"`
	Errors          map[string]int `json:"errors"`
	Retries         int            `json:"retries"`
	StuckOrders     []string       `json:"stuck_orders"`
}

// running is a load under way.
type running struct {
	site   *site
	orders int
	before int // orders that were acknowledged before it
	done   chan struct{}
	ended  outcome
	err    error
}

// load starts a load. Its customers are patient: they outlast a restart of everything.
func (s *site) load(t *testing.T, orders, concurrency int, flags ...string) *running {
	t.Helper()
	l := &running{site: s, orders: orders, before: s.acknowledged(t), done: make(chan struct{})}
	args := append([]string{"load", "--json", "--orders", strconv.Itoa(orders), "--concurrency", strconv.Itoa(concurrency),
		"--timeout", "4m", "--patience", "4m"}, flags...)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	go func() {
		defer cancel()
		defer close(l.done)
		l.ended, l.err = s.run(ctx, args...)
	}()
	t.Cleanup(func() { cancel(); <-l.done })
	return l
}

// acknowledged counts the orders that were acknowledged to the commands so far.
func (s *site) acknowledged(t *testing.T) int {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(s.data, "client", "orders.jsonl"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return bytes.Count(raw, []byte("\n"))
}

// placed waits until n orders of the load are acknowledged and it is still under way.
func (l *running) placed(t *testing.T, n int) {
	t.Helper()
	eventually(t, 3*time.Minute, fmt.Sprintf("%d orders are placed", n), func() error {
		select {
		case <-l.done:
			t.Fatalf("the load has ended too early: %v %s", l.err, l.ended)
		default:
		}
		if got := l.site.acknowledged(t) - l.before; got < n {
			return fmt.Errorf("%d are", got)
		}
		return nil
	})
}

// result waits for the end of the load, which must have brought every order to an end that was to be expected.
func (l *running) result(t *testing.T) loaded {
	t.Helper()
	<-l.done
	if l.err != nil {
		t.Fatal(l.err)
	}
	var r loaded
	if err := json.Unmarshal([]byte(l.ended.stdout), &r); err != nil {
		t.Fatalf("load --json: %v: %s", err, l.ended)
	}
	if l.ended.code != 0 || r.Orders != l.orders || r.Ended != l.orders || r.Stuck != 0 || r.Refused != 0 {
		t.Errorf("want all of %d orders ended and exit code 0, got exit code %d and %+v\n%s", l.orders, l.ended.code, r, clip(l.ended.stderr))
	}
	t.Logf("%d orders, %.1f per s, %v, retries %d %v", r.Orders, r.OrdersPerSecond, r.Outcomes, r.Retries, r.Errors)
	return r
}

// 50 orders at once all end, most of them delivered.
func TestFiftyAtOnce(t *testing.T) {
	s := shared.use(t)
	r := s.load(t, 50, 50).result(t)
	if r.Outcomes["delivered"] < 45 {
		t.Errorf("want at least 45 of 50 delivered, got %v", r.Outcomes)
	}
	s.auditGreen(t)
}

// The order service and its sidecar are killed in the middle of sagas, together and each alone, while orders of every
// kind are under way. The supervisor starts them again, and every order ends as it must.
func TestKillOrderService(t *testing.T) {
	s := shared.use(t)
	l := s.load(t, 80, 20, "--outcomes", "mixed", "--seed", "7")
	for i, victims := range [][]string{{"order", "order-daprd"}, {"order"}, {"order-daprd"}} {
		l.placed(t, 12+20*i)
		st, err := s.status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range victims {
			pid := st.process(name).PID
			if pid <= 0 {
				t.Fatalf("%s has no process: %+v", name, st.process(name))
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatalf("kill %s: %v", name, err)
			}
		}
		eventually(t, healthyWithin, fmt.Sprint(victims, " run again"), func() error {
			now, err := s.status(t.Context())
			if err != nil {
				return err
			}
			for _, name := range victims {
				p := now.process(name)
				if p.Restarts <= st.process(name).Restarts || p.PID == st.process(name).PID || !p.Healthy {
					return fmt.Errorf("%+v", p)
				}
			}
			return nil
		})
	}
	l.result(t)
	s.healthy(t)
	s.auditGreen(t)
}
