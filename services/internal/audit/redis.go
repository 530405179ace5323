package audit

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Redis reads the hashes of Dapr's state.redis component and of state.redis-atomic. It never writes. The keys of an
// app are taken by one script, so that they are of one instant; Redis answers nobody else meanwhile.
type Redis struct {
	// Addr is host and port.
	Addr, User, Password string
	DB                   int
}

// allKeys gives key and value of every hash that begins with the argument, one after the other.
const allKeys = `
local out = {}
for _, key in ipairs(redis.call("KEYS", ARGV[1] .. "*")) do
  if redis.call("TYPE", key).ok == "hash" then
    out[#out + 1] = key
    out[#out + 1] = redis.call("HGET", key, "data")
  end
end
return out`

// Open implements Stores.
func (r Redis) Open(ctx context.Context, app string) (Snapshot, error) {
	client := redis.NewClient(&redis.Options{Addr: r.Addr, Username: r.User, Password: r.Password, DB: r.DB, ReadTimeout: -1})
	defer client.Close()
	prefix := app + "||"
	values, err := client.Eval(ctx, allKeys, nil, prefix).Slice()
	if err != nil {
		return nil, fmt.Errorf("redis at %s: %w", r.Addr, err)
	}
	if len(values) == 0 {
		return nil, fmt.Errorf("%w: redis at %s has no key of %s", ErrNoStore, r.Addr, app)
	}
	var all []row
	for i := 0; i+1 < len(values); i += 2 {
		key, ok1 := values[i].(string)
		value, ok2 := values[i+1].(string)
		if !ok1 || !ok2 {
			return nil, fmt.Errorf("redis at %s: %v is no value of the state store", r.Addr, values[i])
		}
		all = append(all, row{strings.TrimPrefix(key, prefix), []byte(value)})
	}
	return snapshot(all), nil
}
