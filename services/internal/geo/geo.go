// Package geo has the little geometry that a town needs.
package geo

import "math"

// Point is a position on the WGS 84 ellipsoid in degrees.
type Point struct {
	Lat float64 `json:"lat" validate:"gte=-90,lte=90"`
	Lon float64 `json:"lon" validate:"gte=-180,lte=180"`
}

const earthRadius = 6_371_008.8 // metres, the mean radius of IUGG

// Distance is the great-circle distance in metres by the haversine formula.
func Distance(a, b Point) float64 {
	rad := math.Pi / 180
	dLat, dLon := (b.Lat-a.Lat)*rad, (b.Lon-a.Lon)*rad
	h := math.Pow(math.Sin(dLat/2), 2) + math.Cos(a.Lat*rad)*math.Cos(b.Lat*rad)*math.Pow(math.Sin(dLon/2), 2)
	return 2 * earthRadius * math.Asin(math.Min(1, math.Sqrt(h)))
}

// Move gives the point that lies a share (0 to 1) of the way from a to b, good enough within a town.
func Move(a, b Point, share float64) Point {
	share = math.Max(0, math.Min(1, share))
	return Point{Lat: a.Lat + (b.Lat-a.Lat)*share, Lon: a.Lon + (b.Lon-a.Lon)*share}
}
