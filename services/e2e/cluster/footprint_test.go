package cluster

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/dishmesh/dishmesh/services/internal/communication"
)

const (
	// memoryMost is what the whole cluster may take.
	memoryMost = 8 << 30
	// imageMost is what an image of a service may weigh.
	imageMost = 25_000_000
)

// TestFootprint is what all of it takes.
func TestFootprint(t *testing.T) {
	r := shows(t, "cost", "The whole cluster fits into 8 GiB, and each service's image into 25 MB.", "k8s/Dockerfile")
	out, err := here.dockerRun(r.Context(), "stats", "--no-stream", "--format", "{{json .}}", node)
	if err != nil {
		r.Fatal(err)
	}
	var stats struct{ MemUsage string }
	if err := json.Unmarshal([]byte(out), &stats); err != nil {
		r.Fatalf("docker stats: %v: %s", err, out)
	}
	used, _, _ := strings.Cut(stats.MemUsage, " / ")
	bytes, err := parseSize(used)
	if err != nil {
		r.Fatal(err)
	}
	r.Figure("memory of the node, everything in it", used, "8 GiB")
	if bytes > memoryMost {
		r.Errorf("the node takes %s, more than 8 GiB", used)
	}
	largest, which := int64(0), ""
	for _, app := range communication.Services() {
		out, err := here.dockerRun(r.Context(), "image", "inspect", "--format", "{{.Size}}", here.image(r, app))
		if err != nil {
			r.Fatal(err)
		}
		var size int64
		if _, err := fmt.Sscan(out, &size); err != nil {
			r.Fatalf("size of the image of %s: %v: %s", app, err, out)
		}
		if size > largest {
			largest, which = size, app
		}
		if size > imageMost {
			r.Errorf("the image of %s has %.1f MB", app, float64(size)/1e6)
		}
	}
	r.Figure("largest image of a service", fmt.Sprintf("%.1f MB (%s)", float64(largest)/1e6, which), "25 MB")
}

// parseSize reads a size as docker writes it.
func parseSize(s string) (float64, error) {
	var n float64
	var unit string
	if _, err := fmt.Sscanf(s, "%f%s", &n, &unit); err != nil {
		return 0, fmt.Errorf("%q is no size: %w", s, err)
	}
	units := map[string]float64{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 1e3, "MB": 1e6, "GB": 1e9}
	if units[unit] == 0 {
		return 0, fmt.Errorf("%q has an unknown unit", s)
	}
	return n * units[unit], nil
}
