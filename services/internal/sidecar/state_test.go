package sidecar_test

import (
	"context"
	"errors"
	"net"
	"testing"

	runtimev1 "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// storeFails plays a sidecar whose store refuses all that is written.
type storeFails struct {
	runtimev1.UnimplementedDaprServer
	err error
}

func (s *storeFails) ExecuteStateTransaction(context.Context, *runtimev1.ExecuteStateTransactionRequest) (*emptypb.Empty, error) {
	return nil, s.err
}

// Whether an event is to blame for a commit that failed hangs on this: a store that is away, or one that said no.
func TestWhyAWriteFailed(t *testing.T) {
	plays := &storeFails{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	runtimev1.RegisterDaprServer(server, plays)
	go func() { _ = server.Serve(l) }() // ends with Stop
	defer server.Stop()
	sc, err := sidecar.New(sidecar.Config{GRPCPort: l.Addr().(*net.TCPAddr).Port})
	if err != nil {
		t.Fatal(err)
	}
	defer sc.Close()
	for _, tt := range []struct {
		name           string
		code           codes.Code
		text           string
		away, conflict bool
	}{
		{"PostgreSQL is slow", codes.Internal, "failed to begin transaction: context deadline exceeded", true, false},
		{"PostgreSQL restarts", codes.Internal, "failed to connect to `user=order database=order`: dial tcp 10.0.0.7:5432: connect: connection refused", true, false},
		{"Redis has gone", codes.Internal, "error in transaction: read tcp 10.0.0.2:51000->10.0.0.9:6379: read: connection reset by peer", true, false},
		{"MongoDB has no primary", codes.Internal, "error in transaction: server selection error: server selection timeout", true, false},
		{"the sidecar stops", codes.Unavailable, "closing", true, false},
		{"out of time", codes.DeadlineExceeded, "context deadline exceeded", true, false},
		{"a key that Dapr refuses", codes.Internal, "input key/keyPrefix 'x||ord_1' can't contain '||'", false, false},
		{"a value that the store refuses", codes.Internal, "ERROR: invalid byte sequence for encoding \"UTF8\": 0x00 (SQLSTATE 22021)", false, false},
		{"written by somebody else", codes.Internal, "possible etag mismatch. error from state store", false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			plays.err = grpcstatus.Error(tt.code, tt.text)
			err := sc.State("statestore").Transact(t.Context(), sidecar.Op{Key: "k", Value: []byte("v")})
			if away, conflict := errors.Is(err, sidecar.ErrAway), errors.Is(err, sidecar.ErrConflict); away != tt.away || conflict != tt.conflict {
				t.Errorf("%v: away %t, conflict %t", err, away, conflict)
			}
			if !tt.conflict && tt.code != codes.DeadlineExceeded && problem.Of(err) != problem.Unavailable {
				t.Errorf("%v, want unavailable", err)
			}
		})
	}
}
