package geoindex_test

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/dishmesh/dishmesh/services/delivery/geoindex"
	"github.com/dishmesh/dishmesh/services/internal/geo"
)

func TestMemory(t *testing.T) {
	contract(t, func(testing.TB) geoindex.Index { return geoindex.NewMemory() })
}

func TestRedis(t *testing.T) {
	addr := server(t)
	n := 0
	contract(t, func(t testing.TB) geoindex.Index {
		n++
		r := geoindex.NewRedis(addr, "", "", fmt.Sprintf("test-%d", n))
		t.Cleanup(func() { r.Close() })
		return r
	})
}

// server gives the address of a real Redis if there is one on this machine, or else of a stand-in.
func server(t *testing.T) string {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Log("no redis-server: miniredis stands in")
		return miniredis.RunT(t).Addr()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	l.Close()
	cmd := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	deadline := time.Now().Add(10 * time.Second)
	for tick := time.NewTicker(10 * time.Millisecond); client.Ping(t.Context()).Err() != nil; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("redis-server does not answer within 10 s")
		}
	}
	return addr
}

var centre = geo.Point{Lat: 52.52, Lon: 13.405}

func contract(t *testing.T, open func(testing.TB) geoindex.Index) {
	t.Run("nobody", func(t *testing.T) {
		x := open(t)
		want(t, x, centre, 1e6)
		must(t, x.Remove(t.Context(), "nobody"))
	})
	t.Run("nearest first, within the radius", func(t *testing.T) {
		x := open(t)
		for i, metres := range []float64{2500, 100, 900, 1600} {
			must(t, x.Set(t.Context(), fmt.Sprint("c", i), north(centre, metres)))
		}
		want(t, x, centre, 50)
		want(t, x, centre, 1000, "c1", "c2")
		want(t, x, centre, 3000, "c1", "c2", "c3", "c0")
	})
	t.Run("moves and leaves", func(t *testing.T) {
		x := open(t)
		must(t, x.Set(t.Context(), "c", north(centre, 100)))
		must(t, x.Set(t.Context(), "c", north(centre, 5000)))
		want(t, x, centre, 1000)
		want(t, x, centre, 6000, "c")
		must(t, x.Remove(t.Context(), "c"))
		must(t, x.Remove(t.Context(), "c"))
		want(t, x, centre, 6000)
	})
	t.Run("across the antimeridian", func(t *testing.T) {
		x := open(t)
		must(t, x.Set(t.Context(), "west", geo.Point{Lat: 0, Lon: -179.99}))
		must(t, x.Set(t.Context(), "far", geo.Point{Lat: 0, Lon: 0}))
		want(t, x, geo.Point{Lat: 0, Lon: 179.99}, 5000, "west")
	})
	t.Run("as a plain scan finds it", func(t *testing.T) {
		x, where := open(t), map[string]geo.Point{}
		rng := rand.New(rand.NewPCG(1, 2))
		for i := range 500 {
			id := fmt.Sprint("c", i%300) // some move
			where[id] = geo.Point{Lat: 52.3 + 0.4*rng.Float64(), Lon: 13.1 + 0.6*rng.Float64()}
			must(t, x.Set(t.Context(), id, where[id]))
		}
		for _, radius := range []float64{300, 1500, 6000, 40_000} {
			from := geo.Point{Lat: 52.3 + 0.4*rng.Float64(), Lon: 13.1 + 0.6*rng.Float64()}
			hits, err := x.Near(t.Context(), from, radius)
			must(t, err)
			got := map[string]float64{}
			for _, h := range hits {
				got[h.ID] = h.Distance
			}
			for id, p := range where {
				d := geo.Distance(from, p)
				g, ok := got[id]
				if math.Abs(d-radius) < 1+radius/500 {
					continue // the two spheres differ by a little: either is right
				}
				if ok != (d < radius) || ok && math.Abs(g-d) > 1+d/500 {
					t.Errorf("radius %.0f: %s at %.0f m: found %v at %.0f m", radius, id, d, ok, g)
				}
			}
			if !slices.IsSortedFunc(hits, func(a, b geoindex.Hit) int { return cmp.Compare(a.Distance, b.Distance) }) {
				t.Errorf("radius %.0f: not sorted", radius)
			}
		}
	})
	t.Run("by many at once", func(t *testing.T) {
		x := open(t)
		done := make(chan error)
		for g := range 8 {
			go func() {
				var err error
				for i := range 50 {
					id := fmt.Sprint("c", g, i%5)
					err = cmp.Or(err, x.Set(context.Background(), id, north(centre, float64(i))))
					_, e := x.Near(context.Background(), centre, 1000)
					err = cmp.Or(err, e)
					if i%7 == 0 {
						err = cmp.Or(err, x.Remove(context.Background(), id))
					}
				}
				done <- err
			}()
		}
		for range 8 {
			must(t, <-done)
		}
	})
}

func north(p geo.Point, metres float64) geo.Point {
	return geo.Point{Lat: p.Lat + metres/111_195, Lon: p.Lon}
}

func want(t *testing.T, x geoindex.Index, from geo.Point, radius float64, ids ...string) {
	t.Helper()
	hits, err := x.Near(t.Context(), from, radius)
	must(t, err)
	var got []string
	for _, h := range hits {
		got = append(got, h.ID)
	}
	if !slices.Equal(got, ids) {
		t.Errorf("within %.0f m: got %v, want %v", radius, got, ids)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
