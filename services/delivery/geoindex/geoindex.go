// Package geoindex finds who is near a place. One implementation lives in the process and is the default; the
// other lives in Redis, so that replicas see each other's couriers at once. One contract test holds both.
package geoindex

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"

	"github.com/dishmesh/dishmesh/services/internal/geo"
)

// Hit is somebody found, and how far from the centre, in metres.
type Hit struct {
	ID       string
	Distance float64
}

// Index knows positions by id.
type Index interface {
	// Set puts id at p, wherever it was.
	Set(ctx context.Context, id string, p geo.Point) error
	// Remove forgets id; it need not be there.
	Remove(ctx context.Context, id string) error
	// Near gives all within radius metres of centre, the nearest first.
	Near(ctx context.Context, centre geo.Point, radius float64) ([]Hit, error)
}

// cellSize is the edge of a cell of the grid in degrees: about 1.1 km of latitude.
const cellSize = 0.01

type cell struct{ lat, lon int }

func cellOf(p geo.Point) cell {
	return cell{int(math.Floor(p.Lat / cellSize)), int(math.Floor(p.Lon / cellSize))}
}

// Memory is an Index in the process: a grid of cells.
type Memory struct {
	mu    sync.RWMutex
	where map[string]geo.Point
	cells map[cell]map[string]geo.Point
}

// NewMemory makes an empty one.
func NewMemory() *Memory {
	return &Memory{where: map[string]geo.Point{}, cells: map[cell]map[string]geo.Point{}}
}

// Set implements Index. It never fails.
func (m *Memory) Set(_ context.Context, id string, p geo.Point) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(id)
	c := cellOf(p)
	if m.cells[c] == nil {
		m.cells[c] = map[string]geo.Point{}
	}
	m.where[id], m.cells[c][id] = p, p
	return nil
}

// Remove implements Index. It never fails.
func (m *Memory) Remove(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(id)
	return nil
}

func (m *Memory) remove(id string) {
	p, ok := m.where[id]
	if !ok {
		return
	}
	c := cellOf(p)
	delete(m.where, id)
	if delete(m.cells[c], id); len(m.cells[c]) == 0 {
		delete(m.cells, c)
	}
}

// Near implements Index. It never fails.
func (m *Memory) Near(_ context.Context, centre geo.Point, radius float64) ([]Hit, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var hits []Hit
	look := func(points map[string]geo.Point) {
		for id, p := range points {
			if d := geo.Distance(centre, p); d <= radius {
				hits = append(hits, Hit{id, d})
			}
		}
	}
	if low, high, ok := box(centre, radius); ok && (high.lat-low.lat+1)*(high.lon-low.lon+1) < len(m.cells) {
		for lat := low.lat; lat <= high.lat; lat++ {
			for lon := low.lon; lon <= high.lon; lon++ {
				look(m.cells[cell{lat, lon}])
			}
		}
	} else {
		look(m.where)
	}
	slices.SortFunc(hits, func(a, b Hit) int {
		return cmp.Or(cmp.Compare(a.Distance, b.Distance), cmp.Compare(a.ID, b.ID))
	})
	return hits, nil
}

// box gives the cells that a circle touches; not ok if it reaches a pole or the antimeridian.
func box(centre geo.Point, radius float64) (low, high cell, ok bool) {
	const metresPerDegree = 111_000 // a little less than it is, so that the box is a little larger
	dLat := radius / metresPerDegree
	top := math.Max(math.Abs(centre.Lat-dLat), math.Abs(centre.Lat+dLat))
	if top >= 89 {
		return low, high, false
	}
	dLon := dLat / math.Cos(top*math.Pi/180)
	if centre.Lon-dLon < -180 || centre.Lon+dLon > 180 {
		return low, high, false
	}
	return cellOf(geo.Point{Lat: centre.Lat - dLat, Lon: centre.Lon - dLon}), cellOf(geo.Point{Lat: centre.Lat + dLat, Lon: centre.Lon + dLon}), true
}
