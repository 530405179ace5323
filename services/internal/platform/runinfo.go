package platform

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// RunInfo is run/run.json: what runs and where it listens. Tools read it instead of guessing.
type RunInfo struct {
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	// Ready is set once every part is ready.
	Ready   bool   `json:"ready"`
	Profile string `json:"profile"`
	Data    string `json:"data"`
	Home    string `json:"home"`
	// GatewayURL and CityURL are what people open.
	GatewayURL string `json:"gateway_url"`
	CityURL    string `json:"city_url"`
	// Broker is the host and port of the Kafka protocol; empty with a broker that speaks another one.
	Broker string `json:"broker"`
	// SMTP is the host and port of the city's mail server.
	SMTP          string                 `json:"smtp"`
	ControlSocket string                 `json:"control_socket"`
	TimeScale     float64                `json:"time_scale"`
	Apps          map[string]AppEndpoint `json:"apps"`
	Processes     []ProcessRecord        `json:"processes"`
}

// AppEndpoint names the ports of one service and its sidecar, all on 127.0.0.1.
type AppEndpoint struct {
	AppPort      int `json:"app_port"`
	DaprHTTPPort int `json:"dapr_http_port"`
	DaprGRPCPort int `json:"dapr_grpc_port"`
	MetricsPort  int `json:"dapr_metrics_port"`
	internalPort int
}

// ProcessRecord identifies a child, so that a later start can end it if its supervisor was killed.
type ProcessRecord struct {
	Name     string `json:"name"`
	PID      int    `json:"pid"`
	Identity string `json:"identity"`
}

// ReadRunInfo reads run.json of a data folder.
func ReadRunInfo(l Layout) (RunInfo, error) {
	var info RunInfo
	b, err := os.ReadFile(l.RunInfo())
	if err != nil {
		return info, err
	}
	if err := json.Unmarshal(b, &info); err != nil {
		return info, fmt.Errorf("%s: %w", l.RunInfo(), err)
	}
	return info, nil
}

// endOrphans kills the children that a killed supervisor left and returns their names. The data lock must be held.
func endOrphans(l Layout) ([]string, error) {
	info, err := ReadRunInfo(l)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		// A file that cannot be read names nobody; it is written anew by this run.
		return nil, nil
	}
	var ended []string
	for _, p := range info.Processes {
		now, err := processIdentity(p.PID)
		if err != nil || p.Identity == "" || now != p.Identity {
			continue
		}
		if err := syscall.Kill(-p.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return ended, fmt.Errorf("end the process %d (%s) that an earlier run left: %w", p.PID, p.Name, err)
		}
		ended = append(ended, p.Name)
	}
	for _, p := range info.Processes {
		waitGone(p, 5*time.Second)
	}
	return ended, nil
}

// waitGone waits for a killed process to be gone, so that its ports and files are free.
func waitGone(p ProcessRecord, within time.Duration) {
	deadline := time.Now().Add(within)
	for time.Now().Before(deadline) {
		if now, err := processIdentity(p.PID); err != nil || now != p.Identity {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
