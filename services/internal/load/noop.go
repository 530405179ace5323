package load

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/problem"
)

// noopTime bounds a measurement of no-op workflows.
const noopTime = 10 * time.Minute

// Noops is how fast the runtime alone is: workflows with as many activities and waits as an order has, that do
// nothing, on the same store.
type Noops struct {
	Workflows int     `json:"workflows"`
	Ended     int     `json:"ended"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"per_second"`
}

// NoopRunner runs n no-op workflows, so many at once.
type NoopRunner interface {
	RunNoops(ctx context.Context, n, concurrency int) (Noops, error)
}

// OrderService runs no-op workflows in the order service, which offers them only when it is started with BENCH=1. They
// are no part of the public API: the request goes to the service's own port with the token of its sidecar, whose
// policies would end it after 5 s.
type OrderService struct {
	Port  int    // of the service on this machine
	Token string // that the sidecar shows the service
}

// RunNoops implements NoopRunner.
func (s OrderService) RunNoops(ctx context.Context, n, concurrency int) (Noops, error) {
	var r Noops
	ctx, cancel := context.WithTimeout(ctx, noopTime)
	defer cancel()
	body := fmt.Sprintf(`{"workflows":%d,"concurrency":%d}`, n, concurrency)
	target := fmt.Sprintf("http://127.0.0.1:%d/internal/bench/noop", s.Port)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(body))
	if err != nil {
		return r, fmt.Errorf("no-op workflows: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("dapr-api-token", s.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return r, fmt.Errorf("no-op workflows: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	if resp.StatusCode/100 != 2 {
		return r, fmt.Errorf("no-op workflows: %w", problem.Read(resp))
	}
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil {
		return r, fmt.Errorf("no-op workflows: %w", err)
	}
	if r.Ended < r.Workflows {
		return r, fmt.Errorf("no-op workflows: only %d of %d ended", r.Ended, r.Workflows)
	}
	return r, nil
}
