package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/probe"
)

// fault applies a fault to an app's calls and takes it back at the end of the test.
func (s *site) fault(t *T, app, file string) {
	t.Helper()
	t.Cleanup(func() { s.faultless(t, app) })
	s.traffic(t, file)
}

// faultless takes faults of an app's calls back.
func (s *site) faultless(t *T, app string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := s.Run(ctx, "apply", "-f", filepath.Join(s.home, "mesh/destinations", app+".yaml")); err != nil {
		t.Errorf("the fault can't be taken back: %v", err)
	}
}

// TestFaultsByHeader breaks and slows down the quotes of one customer, by the request id that travels from hop to hop.
func TestFaultsByHeader(t *testing.T) {
	r := shows(t, "faults", "Calls of one customer fail or wait as the mesh is told, and nobody else's do.",
		"mesh/faults/abort-by-header.yaml", "mesh/faults/delay-by-header.yaml")
	p := here.register(r)
	quote := here.raw(p.token, http.MethodPost, "/v1/quotes", here.town(r).Choose(rand.New(rand.NewPCG(1, 0))))
	ask := func(id string) probe.Answer { return here.caller.Do(r.Context(), with(quote, requestID, id)) }

	here.fault(r, "pricing", "mesh/faults/abort-by-header.yaml")
	r.Eventually(settled, "the marked call fails", func() error {
		if a := ask("broken-proof"); a.Status != http.StatusServiceUnavailable && a.Status != http.StatusBadGateway {
			return fmt.Errorf("%s", a)
		}
		return nil
	})
	if a := ask("proof"); a.Status != http.StatusCreated {
		r.Errorf("a call that is not marked: %s, want 201", a)
	}
	r.Saw("abort: the marked quote is refused as unavailable, the other one is made")

	here.traffic(r, "mesh/faults/delay-by-header.yaml")
	var slow probe.Answer
	r.Eventually(settled, "the marked call waits", func() error {
		if slow = ask("slow-proof"); slow.Status != http.StatusCreated || slow.Millis < 2000 {
			return fmt.Errorf("%s", slow)
		}
		return nil
	})
	fast := ask("proof")
	if fast.Status != http.StatusCreated || fast.Millis > 1500 {
		r.Errorf("a call that is not marked: %s, want 201 in no time", fast)
	}
	r.Figure("delay: a marked quote, another one", fmt.Sprintf("%.0f ms, %.0f ms", slow.Millis, fast.Millis), "2,000 ms more")
}

// TestAbortedCallsAreSurvived has three of ten calls of payment fail before they arrive.
func TestAbortedCallsAreSurvived(t *testing.T) {
	survive(t, "With three of ten calls of payment aborted every order comes to its end, and the money is right.", "mesh/faults/abort-by-percentage.yaml", "FI")
}

// TestDelayedCallsAreSurvived has three of ten calls of payment wait for 3 s.
func TestDelayedCallsAreSurvived(t *testing.T) {
	survive(t, "With three of ten calls of payment delayed by 3 s every order comes to its end.", "mesh/faults/delay-by-percentage.yaml", "DI")
}

func survive(t *testing.T, claim, file, flag string) {
	t.Helper()
	r := shows(t, "faults", claim, file)
	here.fault(r, "payment", file)
	began := time.Now()
	injected := func() int { return here.flagged(r, "order", flag, began) }
	if flag == "FI" {
		// A fault is in force when a call has met it; without this the load might be over before.
		p := here.register(r)
		r.Eventually(settled, "a call meets the fault", func() error {
			here.place(r, p, wish{})
			if injected() == 0 {
				return errors.New("none so far")
			}
			return nil
		})
	}
	report := here.load(r, 20, 10)
	ended(r, report)
	if flag == "FI" {
		r.Figure("calls of payment that were aborted", fmt.Sprint(injected()), "at least 1")
	} else {
		r.Figure("orders accepted by the kitchen after, p50 / p99", fmt.Sprintf("%.1f / %.1f s", report.Accepted.P50/1000, report.Accepted.P99/1000), "")
		if report.Accepted.P99 < 3000 {
			r.Errorf("no order took 3 s until the kitchen accepted it: nothing was delayed")
		}
	}
	here.faultless(r, "payment")
	here.auditGreen(r)
}

// flagged counts the requests that the proxies of an app's pods have logged with a response flag of Envoy's.
func (s *site) flagged(t *T, app, flag string, since time.Time) int {
	t.Helper()
	out, err := s.Run(t.Context(), "logs", "-n", communication.Namespace, "-l", "app="+app, "-c", "istio-proxy", "--since-time", since.UTC().Format(time.RFC3339), "--tail", "-1")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.SplitSeq(out, "\n") {
		if hasFlag(line, flag) {
			n++
		}
	}
	return n
}

// hasFlag reads a line of Envoy's access log, as JSON or as Istio's text: [time] "request" status flags …
func hasFlag(line, flag string) bool {
	var entry struct {
		Flags string `json:"response_flags"`
	}
	if json.Unmarshal([]byte(line), &entry) == nil {
		return strings.Contains(entry.Flags, flag)
	}
	_, after, ok := strings.Cut(line, `" `)
	if !ok || !strings.HasPrefix(line, "[") {
		return false
	}
	words := strings.Fields(after)
	return len(words) > 1 && strings.Contains(words[1], flag)
}
