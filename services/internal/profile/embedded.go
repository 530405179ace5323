package profile

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"
)

// Embedded is the broker that is part of this program: the Kafka protocol, its data on disk.
type Embedded struct{}

// Name implements Server.
func (Embedded) Name() string { return "broker" }

// Title implements Server.
func (Embedded) Title() string { return "the embedded broker" }

// Vars implements Server.
func (Embedded) Vars() []string { return []string{"KAFKA_BROKERS"} }

// Probe implements Server.
func (Embedded) Probe(context.Context) Found { return Found{Here: true, Where: "built in"} }

// Ports implements Server.
func (Embedded) Ports() []string { return []string{"broker", "broker/healthz"} }

// Env implements Server.
func (Embedded) Env(at Site) []string { return []string{"KAFKA_BROKERS=" + local(at.Ports["broker"])} }

// Processes implements Server.
func (Embedded) Processes(at Site) []Process {
	args := []string{"broker", "--data", at.Dir, "--port", fmt.Sprint(at.Ports["broker"]), "--health-port", fmt.Sprint(at.Ports["broker/healthz"]),
		"--subscriptions", filepath.Join(at.Components, "subscriptions")}
	if at.Sync {
		args = append(args, "--sync")
	}
	url := "http://" + local(at.Ports["broker/healthz"]) + "/healthz"
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	ready := func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode/100 != 2 {
			return fmt.Errorf("%s answers %s", url, resp.Status)
		}
		return nil
	}
	return []Process{{Name: "broker", Path: at.Self, Args: args, Ready: ready, ReadyWithin: 30 * time.Second, Grace: 1500 * time.Millisecond}}
}
