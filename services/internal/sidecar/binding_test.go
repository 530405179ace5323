package sidecar_test

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	runtimev1 "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// bindings plays a sidecar with output bindings and counts the calls.
type bindings struct {
	runtimev1.UnimplementedDaprServer
	reached atomic.Int32
	status  int   // of the HTTP answer that the binding passes on
	err     error // of the sidecar
	hang    bool
}

func (b *bindings) InvokeBinding(ctx context.Context, _ *runtimev1.InvokeBindingRequest) (*runtimev1.InvokeBindingResponse, error) {
	b.reached.Add(1)
	if b.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &runtimev1.InvokeBindingResponse{Metadata: map[string]string{"statusCode": strconv.Itoa(b.status)}}, b.err
}

func TestBindingsHaveABreaker(t *testing.T) {
	failed := grpcstatus.Error(codes.Internal, "error invoking output binding acquirer: connection refused")
	for _, tt := range []struct {
		name   string
		plays  *bindings
		within time.Duration
		giveUp bool
		opens  bool
	}{
		{"answered", &bindings{status: 201}, time.Minute, false, false},
		{"refused", &bindings{status: 409}, time.Minute, false, false},
		{"not HTTP", &bindings{}, time.Minute, false, false},
		{"503", &bindings{status: 503}, time.Minute, false, true},
		{"429", &bindings{status: 429}, time.Minute, false, true},
		{"the binding fails", &bindings{err: failed}, time.Minute, false, true},
		{"time-out", &bindings{hang: true}, 10 * time.Millisecond, false, true},
		{"own sidecar away", &bindings{err: grpcstatus.Error(codes.Unavailable, "closing")}, time.Minute, false, false},
		{"given up", &bindings{hang: true}, time.Minute, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server := grpc.NewServer()
			runtimev1.RegisterDaprServer(server, tt.plays)
			go func() { _ = server.Serve(l) }() // ends with Stop
			defer server.Stop()
			sc, err := sidecar.New(sidecar.Config{GRPCPort: l.Addr().(*net.TCPAddr).Port,
				Guards: sidecar.NewGuards(sidecar.DefaultLimits(), slog.New(slog.DiscardHandler), prometheus.NewRegistry())})
			if err != nil {
				t.Fatal(err)
			}
			defer sc.Close()
			for range 6 {
				ctx, cancel := context.WithTimeout(t.Context(), tt.within)
				if tt.giveUp {
					time.AfterFunc(10*time.Millisecond, cancel)
				}
				_, _ = sc.InvokeBinding(ctx, "acquirer", "post", nil, nil) // the outcome is what was set
				cancel()
			}
			want := int32(6)
			if tt.opens {
				want = 3
			}
			if got := tt.plays.reached.Load(); got != want {
				t.Errorf("%d of 6 calls were made, want %d", got, want)
			}
		})
	}
}
