package geoindex

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/dishmesh/dishmesh/services/internal/geo"
)

// Redis is an Index in one sorted set of a Redis server (GEOADD, GEOSEARCH; Redis 6.2 and later). Redis keeps no
// latitudes beyond 85.05 degrees.
type Redis struct {
	client *redis.Client
	key    string
}

// NewRedis makes one at addr that keeps its positions under key. It connects when it is first used. A call is
// given up after 500 ms: a dispatch must not hang on it.
func NewRedis(addr, user, password, key string) *Redis {
	return &Redis{key: key, client: redis.NewClient(&redis.Options{
		Addr: addr, Username: user, Password: password, DialTimeout: 500 * time.Millisecond, ReadTimeout: 500 * time.Millisecond, WriteTimeout: 500 * time.Millisecond,
		ContextTimeoutEnabled: true, MaxRetries: 1,
	})}
}

// Close ends the connections.
func (r *Redis) Close() error { return r.client.Close() }

// Set implements Index.
func (r *Redis) Set(ctx context.Context, id string, p geo.Point) error {
	if err := r.client.GeoAdd(ctx, r.key, &redis.GeoLocation{Name: id, Longitude: p.Lon, Latitude: p.Lat}).Err(); err != nil {
		return fmt.Errorf("geo index: set %s: %w", id, err)
	}
	return nil
}

// Remove implements Index.
func (r *Redis) Remove(ctx context.Context, id string) error {
	if err := r.client.ZRem(ctx, r.key, id).Err(); err != nil {
		return fmt.Errorf("geo index: remove %s: %w", id, err)
	}
	return nil
}

// Near implements Index.
func (r *Redis) Near(ctx context.Context, centre geo.Point, radius float64) ([]Hit, error) {
	found, err := r.client.GeoSearchLocation(ctx, r.key, &redis.GeoSearchLocationQuery{
		GeoSearchQuery: redis.GeoSearchQuery{Longitude: centre.Lon, Latitude: centre.Lat, Radius: radius, RadiusUnit: "m", Sort: "ASC"},
		WithDist:       true,
	}).Result()
	if err != nil {
		return nil, fmt.Errorf("geo index: search: %w", err)
	}
	hits := make([]Hit, len(found))
	for i, f := range found {
		hits[i] = Hit{f.Name, f.Dist}
	}
	return hits, nil
}
