// Package sidecar is the one door from a service to its Dapr sidecar: state, events, invocation, bindings and
// the workflow engine. A service knows nothing behind it: no broker, no database, no address.
package sidecar

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	dapr "github.com/dapr/go-sdk/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// Config says where the sidecar listens.
type Config struct {
	Host     string // default 127.0.0.1
	HTTPPort int
	GRPCPort int
	APIToken string // sent with every call when not empty
	Guards   *Guards
}

// Sidecar is a connection to the sidecar. It is made before the sidecar is up and heals by itself.
type Sidecar struct {
	cfg    Config
	conn   *grpc.ClientConn
	client dapr.Client
	http   *http.Client
	base   string
	guards *Guards
}

// New connects lazily; it does not wait for the sidecar.
func New(cfg Config) (*Sidecar, error) {
	if cfg.Host == "" {
		cfg.Host = "127.0.0.1"
	}
	conn, err := grpc.NewClient(net.JoinHostPort(cfg.Host, fmt.Sprint(cfg.GRPCPort)),
		grpc.WithTransportCredentials(insecure.NewCredentials()), // loopback; between sidecars it is mTLS
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return invoker(withToken(ctx, cfg.APIToken), method, req, reply, cc, opts...)
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return streamer(withToken(ctx, cfg.APIToken), desc, cc, method, opts...)
		}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: quickBackoff, MinConnectTimeout: 2 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to the sidecar: %w", err)
	}
	return &Sidecar{
		cfg: cfg, conn: conn, client: dapr.NewClientWithConnection(conn),
		base: "http://" + net.JoinHostPort(cfg.Host, fmt.Sprint(cfg.HTTPPort)),
		http: &http.Client{Transport: cfg.Guards.Transport(Transport(cfg))}, guards: cfg.Guards,
	}, nil
}

func withToken(ctx context.Context, token string) context.Context {
	if token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "dapr-api-token", token)
}

// Conn is the gRPC connection, for the workflow client and worker.
func (s *Sidecar) Conn() *grpc.ClientConn { return s.conn }

// Close ends the connection.
func (s *Sidecar) Close() error { return s.conn.Close() }

// Healthy asks the sidecar whether it can take outbound calls (state, publish, invoke).
func (s *Sidecar) Healthy(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/v1.0/healthz/outbound", nil)
	if err != nil {
		return err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the sidecar is not ready: status %d", resp.StatusCode)
	}
	return nil
}

// Wait returns when the sidecar is healthy or the context ends.
func (s *Sidecar) Wait(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, time.Second)
		err := s.Healthy(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the sidecar: %w", err)
		case <-tick.C:
		}
	}
}

// WorkflowWorkers tells how many workers the sidecar's workflow engine serves.
func (s *Sidecar) WorkflowWorkers(ctx context.Context) (int, error) {
	var meta struct {
		Workflows struct {
			ConnectedWorkers int `json:"connectedWorkers"`
		} `json:"workflows"`
	}
	err := Do(ctx, s.http, s.base, Call{Method: http.MethodGet, Path: "/v1.0/metadata", Out: &meta})
	return meta.Workflows.ConnectedWorkers, err
}

// Shutdown ends the sidecar in good order; whoever runs it starts it again.
func (s *Sidecar) Shutdown(ctx context.Context) error {
	return Do(ctx, s.http, s.base, Call{Method: http.MethodPost, Path: "/v1.0/shutdown"})
}
