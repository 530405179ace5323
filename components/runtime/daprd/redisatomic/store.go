// Package redisatomic is Dapr's Redis state store with transactions that are one: state.redis-atomic.
//
// Dapr's own state.redis (components-contrib 1.18.0, state/redis/redis.go, Multi) puts the operations of a transaction
// into MULTI and EXEC, each a script of its own. Redis rolls nothing back: where the condition of one operation fails,
// the others are written all the same. And a "first write" is not checked there at all, so that a key that must be new
// overwrites one that exists. Here one script looks at every condition first and writes afterwards, which Redis runs
// undivided. Keys and values are laid out as in state.redis.
//
// It wants one Redis, or one with replicas and Sentinel. In a Redis Cluster the keys of a transaction would lie on
// several nodes, which a script cannot span.
package redisatomic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	rediscomponent "github.com/dapr/components-contrib/common/component/redis"
	daprmetadata "github.com/dapr/components-contrib/metadata"
	"github.com/dapr/components-contrib/state"
	"github.com/dapr/components-contrib/state/redis"
	"github.com/dapr/components-contrib/state/utils"
	"github.com/dapr/kit/logger"
)

// script takes four arguments for each key: what to do (set, create or delete), the version that the key must have or
// "", the value, and the seconds after which the key goes or "". It answers 0, or the number of the first key whose
// condition does not hold; then nothing was written.
//
// A version is the time in microseconds, or one more than before if that is later: the version of a key that was
// deleted and made again is never one that somebody may still hold.
const script = `
for i, key in ipairs(KEYS) do
  local verb, want = ARGV[4*i-3], ARGV[4*i-2]
  local have = redis.call("HGET", key, "version")
  if (want ~= "" and have ~= want) or (verb == "create" and have) then
    return i
  end
end
local time = redis.call("TIME")
local now = time[1] * 1000000 + time[2]
for i, key in ipairs(KEYS) do
  local verb, value, ttl = ARGV[4*i-3], ARGV[4*i-1], ARGV[4*i]
  if verb == "delete" then
    redis.call("DEL", key)
  else
    local have = tonumber(redis.call("HGET", key, "version") or "0")
    redis.call("HSET", key, "data", value, "version", string.format("%.0f", math.max(now, have + 1)))
    if ttl ~= "" then
      redis.call("EXPIRE", key, ttl)
    else
      redis.call("PERSIST", key)
    end
  end
end
return 0`

// Store is the state store.
type Store struct {
	*redis.StateStore
	state.BulkStore
	client rediscomponent.RedisClient
	log    logger.Logger
}

// New makes a store for Dapr's registry.
func New(log logger.Logger) state.Store {
	s := &Store{StateStore: redis.NewRedisStateStore(log).(*redis.StateStore), log: log}
	s.BulkStore = state.NewDefaultBulkStore(s)
	return s
}

// Init implements state.Store.
func (s *Store) Init(ctx context.Context, metadata state.Metadata) error {
	if err := s.StateStore.Init(ctx, metadata); err != nil {
		return err
	}
	client, _, err := rediscomponent.ParseClientFromProperties(metadata.Properties, daprmetadata.StateStoreType, ctx, &s.log)
	s.client = client
	return err
}

// Features implements state.Store.
func (s *Store) Features() []state.Feature {
	return []state.Feature{state.FeatureETag, state.FeatureTransactional, state.FeatureTTL, state.FeatureKeysLike}
}

// Set implements state.Store as a transaction of one operation.
func (s *Store) Set(ctx context.Context, req *state.SetRequest) error {
	return s.Multi(ctx, &state.TransactionalStateRequest{Operations: []state.TransactionalStateOperation{*req}})
}

// Delete implements state.Store as a transaction of one operation.
func (s *Store) Delete(ctx context.Context, req *state.DeleteRequest) error {
	return s.Multi(ctx, &state.TransactionalStateRequest{Operations: []state.TransactionalStateOperation{*req}})
}

// BulkGet, BulkSet and BulkDelete are those of the default, on this store.

// BulkGet implements state.BulkStore.
func (s *Store) BulkGet(ctx context.Context, req []state.GetRequest, opts state.BulkGetOpts) ([]state.BulkGetResponse, error) {
	return s.BulkStore.BulkGet(ctx, req, opts)
}

// BulkSet implements state.BulkStore.
func (s *Store) BulkSet(ctx context.Context, req []state.SetRequest, opts state.BulkStoreOpts) error {
	return s.BulkStore.BulkSet(ctx, req, opts)
}

// BulkDelete implements state.BulkStore.
func (s *Store) BulkDelete(ctx context.Context, req []state.DeleteRequest, opts state.BulkStoreOpts) error {
	return s.BulkStore.BulkDelete(ctx, req, opts)
}

// Multi implements state.TransactionalStore: all operations, or none.
func (s *Store) Multi(ctx context.Context, request *state.TransactionalStateRequest) error {
	n := len(request.Operations)
	if n == 0 {
		return nil
	}
	keys, args := make([]any, 0, n), make([]any, 0, 4*n)
	for _, op := range request.Operations {
		switch r := op.(type) {
		case state.SetRequest:
			if err := state.CheckRequestOptions(r.Options); err != nil {
				return err
			}
			verb := "set"
			if r.Options.Concurrency == state.FirstWrite && !r.HasETag() {
				verb = "create"
			}
			ttl, err := utils.ParseTTL(r.Metadata)
			if err != nil {
				return fmt.Errorf("the ttl of %s: %w", r.Key, err)
			}
			seconds := ""
			if ttl != nil && *ttl > 0 {
				seconds = strconv.Itoa(*ttl)
			}
			value, err := utils.Marshal(r.Value, json.Marshal)
			if err != nil {
				return fmt.Errorf("the value of %s: %w", r.Key, err)
			}
			keys, args = append(keys, r.Key), append(args, verb, etag(r.ETag), value, seconds)
		case state.DeleteRequest:
			keys, args = append(keys, r.Key), append(args, "delete", etag(r.ETag), "", "")
		default:
			return fmt.Errorf("unsupported operation: %s", op.Operation())
		}
	}
	command := append([]any{"EVAL", script, n}, keys...)
	answer, err := s.client.DoRead(ctx, append(command, args...)...)
	if err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	failed, ok := answer.(int64)
	switch {
	case !ok:
		return fmt.Errorf("redis: the script answered %v", answer)
	case failed != 0:
		return state.NewETagError(state.ETagMismatch, fmt.Errorf("the key %s has changed or was there", request.Operations[failed-1].GetKey()))
	}
	return nil
}

func etag(e *string) string {
	if e == nil {
		return ""
	}
	return *e
}

// Close implements io.Closer.
func (s *Store) Close() error {
	err := s.StateStore.Close()
	if s.client != nil {
		err = errors.Join(err, s.client.Close())
	}
	return err
}
