package geo_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/dishmesh/dishmesh/services/internal/geo"
)

func TestDistance(t *testing.T) {
	berlin, paris := geo.Point{Lat: 52.52, Lon: 13.405}, geo.Point{Lat: 48.8566, Lon: 2.3522}
	for _, tt := range []struct {
		name string
		a, b geo.Point
		want float64
	}{
		{"nowhere", berlin, berlin, 0},
		{"Berlin to Paris", berlin, paris, 877_465},
		{"a degree of latitude", geo.Point{}, geo.Point{Lat: 1}, 111_195},
		{"a degree of longitude at 60° north", geo.Point{Lat: 60}, geo.Point{Lat: 60, Lon: 1}, 55_597},
		{"over the date line", geo.Point{Lon: 179.5}, geo.Point{Lon: -179.5}, 111_195},
		{"antipodes", geo.Point{Lat: 90}, geo.Point{Lat: -90}, math.Pi * 6_371_008.8},
	} {
		if got := geo.Distance(tt.a, tt.b); math.Abs(got-tt.want) > math.Max(1, tt.want/10_000) {
			t.Errorf("%s: %.0f m, want %.0f m", tt.name, got, tt.want)
		}
	}
}

func point(t *rapid.T, name string) geo.Point {
	return geo.Point{Lat: rapid.Float64Range(-90, 90).Draw(t, name+".lat"), Lon: rapid.Float64Range(-180, 180).Draw(t, name+".lon")}
}

// A distance is a metric: symmetric, never negative, and no way round is shorter.
func TestDistanceIsAMetric(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := point(t, "a"), point(t, "b"), point(t, "c")
		ab, bc, ac := geo.Distance(a, b), geo.Distance(b, c), geo.Distance(a, c)
		if math.IsNaN(ab) || ab < 0 || math.Abs(ab-geo.Distance(b, a)) > 1e-6 || ac > ab+bc+1 {
			t.Fatalf("a–b %v, b–a %v, b–c %v, a–c %v", ab, geo.Distance(b, a), bc, ac)
		}
	})
}

func TestMove(t *testing.T) {
	a, b := geo.Point{Lat: 52.5, Lon: 13.3}, geo.Point{Lat: 52.6, Lon: 13.5}
	if got := geo.Move(a, b, 0); got != a {
		t.Errorf("Move 0 = %v, want %v", got, a)
	}
	if got := geo.Move(a, b, 2); geo.Distance(got, b) > 0.01 {
		t.Errorf("Move 2 = %v, want %v", got, b)
	}
	if got := geo.Move(a, b, -1); got != a {
		t.Errorf("Move -1 = %v, want %v", got, a)
	}
	half := geo.Move(a, b, 0.5)
	if d := geo.Distance(a, half) / geo.Distance(a, b); math.Abs(d-0.5) > 0.001 {
		t.Errorf("Move 0.5 is at %.4f of the way", d)
	}
}
