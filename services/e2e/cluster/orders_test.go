package cluster

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// TestOrdersThroughTheIngress sees every way in which an order can end, as somebody on this machine meets it.
func TestOrdersThroughTheIngress(t *testing.T) {
	r := shows(t, "orders", "Orders come in by the ingress and end as they should.", "k8s/overlays/kind", "mesh/ingress")
	start := time.Now()
	here.order(r, []int{codeDelivered})
	r.Figure("first order, from its placing to its delivery", fmt.Sprintf("%.1f s", time.Since(start).Seconds()), "")
	cases := []struct {
		name  string
		want  []int
		flags []string
	}{
		{"delivered, the acquirer silent after it captured", []int{codeDelivered}, []string{"--card", "timeout-after-capture"}},
		{"delivered, the acquirer failing twice", []int{codeDelivered}, []string{"--card", "fail-2"}},
		{"card declined", []int{codeDeclined}, []string{"--card", "declined"}},
		{"the kitchen rejects", []int{codeRejected}, []string{"--kitchen", "rejects"}},
		{"no courier", []int{codeUndeliverable}, []string{"--no-courier"}},
		{"cancelled after the kitchen accepted", []int{codeCancelled}, []string{"--cancel-after", "accept"}},
	}
	var all sync.WaitGroup
	for _, c := range cases {
		all.Go(func() { here.order(r, c.want, c.flags...) })
	}
	all.Wait()
	for _, c := range cases {
		r.Saw("%s: as it should", c.name)
	}
	here.auditGreen(r)
}

// TestLoadThroughTheIngress is what the cluster does under load, with a fifth of the orders meeting a mishap.
func TestLoadThroughTheIngress(t *testing.T) {
	r := shows(t, "orders", "A crowd's orders, a fifth of them with a mishap, all end, and every account balances.")
	report := here.load(r, 60, 10, "--outcomes", "mixed", "--seed", "1")
	ended(r, report)
	r.Figure("order accepted, p50 / p99", fmt.Sprintf("%.0f / %.0f ms", report.Accept.P50, report.Accept.P99), "")
	r.Figure("order delivered, p50 / p99", fmt.Sprintf("%.1f / %.1f s", report.Delivered.P50/1000, report.Delivered.P99/1000), "")
	here.auditGreen(r)
}
