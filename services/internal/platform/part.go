// Package platform runs the whole of Dishmesh on one machine: it starts every process in the order in which they
// need each other, watches them, restarts what dies and stops everything again.
package platform

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Phase orders the end: parts of a higher phase stop first.
type Phase int

// The phases, from what everything needs to what needs everything.
const (
	PhaseTrust Phase = iota // sentry
	PhaseControl
	PhaseBroker
	PhaseSidecar
	PhaseService
	PhaseCity
)

// Kinds of parts, as status and run.json name them.
const (
	KindControl = "control"
	KindBroker  = "broker"
	KindService = "service"
	KindSidecar = "sidecar"
	KindCity    = "city"
)

// Part describes one process of the platform: how to start it and how to tell that it works.
type Part struct {
	// Name is unique and names the log file.
	Name string
	// Kind is one of the Kind constants.
	Kind string
	// App is the Dapr app id of a service or a sidecar, otherwise empty.
	App string
	// Path and Args are the program and its arguments. Secrets never go here: every user of the machine sees them.
	Path string
	Args []string
	// Env is added to the environment; it is called before each start, after Needs are ready.
	Env func() ([]string, error)
	// Dir is the working folder.
	Dir string
	// Needs names the parts that must be ready before the first start.
	Needs []string
	// Ready is one try to find out whether the part does its work. It must return soon.
	Ready func(context.Context) error
	// FirstReady, where it is set, makes the readiness check of one start; Ready then is only asked for the health
	// later.
	FirstReady func() func(context.Context) error
	// Alive is one try to find out whether the process still answers; nil: Ready is asked. It must not depend on other
	// parts: one that fails it several times in a row is killed and started again.
	Alive func(context.Context) error
	// ReadyWithin is how long a start may take.
	ReadyWithin time.Duration
	// Grace is how long the process may take to end after SIGTERM before it is killed.
	Grace time.Duration
	// Phase decides when the part stops.
	Phase Phase
}

// probeClient keeps no connections: a probe is rare, and an idle connection would hide that a port changed hands.
var probeClient = &http.Client{
	Timeout:   2 * time.Second,
	Transport: &http.Transport{DisableKeepAlives: true},
}

// HTTPReady is ready when every URL answers with a 2xx status.
func HTTPReady(urls ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, url := range urls {
			if err := probe(ctx, url); err != nil {
				return err
			}
		}
		return nil
	}
}

// HTTPAnswers is alive when the URL answers, whatever it says: a process that says "not ready" may wait for another.
func HTTPAnswers(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := ask(ctx, url)
		return err
	}
}

func probe(ctx context.Context, url string) error {
	status, err := ask(ctx, url)
	if err != nil {
		return err
	}
	if status < 200 || status > 299 {
		return fmt.Errorf("%s answers %d %s", url, status, http.StatusText(status))
	}
	return nil
}

func ask(ctx context.Context, url string) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := probeClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4<<10))
	return resp.StatusCode, nil
}
