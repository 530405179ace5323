package platform

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

// fakeEtcd holds one leadership key. A scheduler that waits makes its own as soon as the key is gone.
type fakeEtcd struct {
	mu       sync.Mutex
	revision int64
	// waiting is set while another scheduler waits for the key.
	waiting bool
}

func (e *fakeEtcd) serve(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(grpc.ForceServerCodec(rawCodec{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		var req []byte
		if err := stream.RecvMsg(&req); err != nil {
			return err
		}
		method, _ := grpc.MethodFromServerStream(stream)
		e.mu.Lock()
		defer e.mu.Unlock()
		switch method {
		case "/etcdserverpb.KV/Range":
			kv := bytesField(nil, 1, []byte(leadershipPrefix+"scheduler-0"))
			kv = protowire.AppendVarint(protowire.AppendTag(kv, 2, protowire.VarintType), uint64(e.revision))
			return stream.SendMsg(bytesField(nil, 2, kv))
		case "/etcdserverpb.KV/Txn":
			if got := comparedRevision(t, req); got == e.revision && e.waiting {
				e.revision, e.waiting = e.revision+1, false
			} else if got == e.revision {
				e.revision = 0
			}
			return stream.SendMsg([]byte{})
		}
		return status.Error(codes.Unimplemented, method)
	}))
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(srv.Stop)
	return ln.Addr().String()
}

// comparedRevision reads the condition of the transaction.
func comparedRevision(t *testing.T, txn []byte) (revision int64) {
	t.Helper()
	err := eachField(txn, func(num protowire.Number, compare []byte, _ uint64) error {
		if num != 1 {
			return nil
		}
		return eachField(compare, func(num protowire.Number, _ []byte, n uint64) error {
			if num == 5 {
				revision = int64(n)
			}
			return nil
		})
	})
	if err != nil {
		t.Error(err)
	}
	return revision
}

func TestLeadershipIsTakenFromADeadScheduler(t *testing.T) {
	etcd := &fakeEtcd{revision: 7}
	l := &leadership{etcd: etcd.serve(t), record: filepath.Join(t.TempDir(), "leadership.json")}
	if err := l.takeOver(t.Context()); err != nil {
		t.Fatalf("first scheduler: %v", err)
	}
	etcd.waiting = true
	if err := l.takeOver(t.Context()); err != nil {
		t.Fatalf("second scheduler: %v", err)
	}
	if etcd.revision != 8 || etcd.waiting {
		t.Errorf("the second scheduler still waits: %+v", etcd)
	}
	var got leaderKey
	if err := readJSON(l.record, &got); err != nil || got != (leaderKey{leadershipPrefix + "scheduler-0", 8}) {
		t.Errorf("remembered %+v, %v, want the key of the second scheduler", got, err)
	}
}

func TestLeadershipOfALivingSchedulerIsLeftAlone(t *testing.T) {
	etcd := &fakeEtcd{revision: 9}
	l := &leadership{etcd: etcd.serve(t), record: filepath.Join(t.TempDir(), "leadership.json")}
	// What is remembered is the key of an earlier scheduler, which went in order and gave it back.
	if err := writeJSON(l.record, leaderKey{leadershipPrefix + "scheduler-0", 7}, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.takeOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	if etcd.revision != 9 {
		t.Error("the key of the living scheduler is gone")
	}
}

func TestLeadershipComesAgainWhileNobodyLeads(t *testing.T) {
	l := &leadership{etcd: "127.0.0.1:1", record: filepath.Join(t.TempDir(), "leadership.json")}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.takeOver(ctx); err == nil || !strings.Contains(err.Error(), "cancel") {
		t.Errorf("without etcd: got %v, want an error", err)
	}
}
