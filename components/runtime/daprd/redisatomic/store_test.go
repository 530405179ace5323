package redisatomic_test

import (
	"context"
	"errors"
	"net"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/dapr/components-contrib/metadata"
	"github.com/dapr/components-contrib/state"
	"github.com/dapr/kit/logger"

	"github.com/dishmesh/dishmesh/components/runtime/daprd/redisatomic"
)

// open starts a Redis of its own, without a disk, and a store on it.
func open(t *testing.T) *redisatomic.Store {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("no redis-server here: run components/servers.sh redis")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
	ln.Close()
	cmd := exec.Command(path, "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no")
	cmd.Dir = t.TempDir()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	store := redisatomic.New(logger.NewLogger("test")).(*redisatomic.Store)
	md := state.Metadata{Base: metadata.Base{Properties: map[string]string{"redisHost": "127.0.0.1:" + port, "redisMaxRetries": "-1"}}}
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := store.Init(t.Context(), md)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-time.After(20 * time.Millisecond)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func set(key, value string) state.SetRequest { return state.SetRequest{Key: key, Value: []byte(value)} }

func create(key, value string) state.SetRequest {
	r := set(key, value)
	r.Options.Concurrency = state.FirstWrite
	return r
}

func match(key, value, etag string) state.SetRequest {
	r := create(key, value)
	r.ETag = &etag
	return r
}

func remove(key, etag string) state.DeleteRequest { return state.DeleteRequest{Key: key, ETag: &etag} }

func transact(s *redisatomic.Store, ops ...state.TransactionalStateOperation) error {
	return s.Multi(context.Background(), &state.TransactionalStateRequest{Operations: ops})
}

func get(t *testing.T, s *redisatomic.Store, key string) (value, etag string) {
	t.Helper()
	got, err := s.Get(t.Context(), &state.GetRequest{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	if got.ETag != nil {
		etag = *got.ETag
	}
	return string(got.Data), etag
}

// TestAFailedConditionWritesNothing is the promise that Dapr's own component breaks.
func TestAFailedConditionWritesNothing(t *testing.T) {
	s := open(t)
	if err := transact(s, create("a", "1"), create("b", "1")); err != nil {
		t.Fatal(err)
	}
	_, a := get(t, s, "a")
	for name, ops := range map[string][]state.TransactionalStateOperation{
		"key to create was there": {match("a", "2", a), set("c", "2"), create("b", "2")},
		"etag has changed":        {set("c", "2"), match("a", "2", "12345")},
		"key has vanished":        {set("c", "2"), match("nothing", "2", a)},
		"deletion of another":     {set("c", "2"), remove("b", "12345")},
		"the first of them":       {create("a", "2"), set("c", "2")},
	} {
		t.Run(name, func(t *testing.T) {
			err := transact(s, ops...)
			var conflict *state.ETagError
			if !errors.As(err, &conflict) {
				t.Errorf("got %v, want an ETag error", err)
			}
			for key, want := range map[string]string{"a": "1", "b": "1", "c": ""} {
				if got, _ := get(t, s, key); got != want {
					t.Errorf("%s is %q, want %q", key, got, want)
				}
			}
		})
	}
}

func TestAnETagNeverComesBack(t *testing.T) {
	s := open(t)
	seen := map[string]bool{}
	for i := range 20 {
		if err := transact(s, create("k", "new")); err != nil {
			t.Fatal(err)
		}
		_, etag := get(t, s, "k")
		if seen[etag] {
			t.Fatalf("round %d: the etag %s was there before", i, etag)
		}
		seen[etag] = true
		if err := transact(s, remove("k", etag)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTTL(t *testing.T) {
	s := open(t)
	short := create("k", "short")
	short.Metadata = map[string]string{"ttlInSeconds": "1"}
	if err := transact(s, short); err != nil {
		t.Fatal(err)
	}
	if err := transact(s, create("k", "again")); err == nil {
		t.Error("a key was created that was there")
	}
	deadline := time.Now().Add(10 * time.Second)
	for transact(s, create("k", "again")) != nil {
		if time.Now().After(deadline) {
			t.Fatal("the key outlived its second")
		}
		<-time.After(50 * time.Millisecond)
	}
	if got, _ := get(t, s, "k"); got != "again" {
		t.Errorf("got %q, want what was written after the expiry", got)
	}
}

func TestOneOfManyWins(t *testing.T) {
	s := open(t)
	if err := transact(s, create("k", "0")); err != nil {
		t.Fatal(err)
	}
	_, etag := get(t, s, "k")
	results := make(chan error, 16)
	for range cap(results) {
		go func() { results <- transact(s, match("k", "1", etag), set("other", "x")) }()
	}
	won := 0
	for range cap(results) {
		if <-results == nil {
			won++
		}
	}
	if won != 1 {
		t.Errorf("%d of %d transactions on one etag won, want 1", won, cap(results))
	}
}
