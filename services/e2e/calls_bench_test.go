package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
)

// lookedUp is what every way of calling asks for: two dishes of a restaurant.
var lookedUp = &menuapi.LookupMenuRequest{RestaurantId: "rst_01", ItemIds: []string{"itm_0101", "itm_0105"}}

// bearing adds headers to each request.
type bearing struct {
	next   http.RoundTripper
	header http.Header
}

// RoundTrip implements http.RoundTripper.
func (b bearing) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for name, values := range b.header {
		r.Header[name] = values
	}
	return b.next.RoundTrip(r)
}

// BenchmarkLookup measures the menu lookup by every way that it can be called, on the running platform: through the
// sidecars of pricing and menu with mTLS between them, and directly at the menu service. "JSON" is a POST with
// encoding/json, as anybody can write it.
//
//	go test -run '^$' -bench Lookup -benchtime 1000x ./services/e2e
func BenchmarkLookup(b *testing.B) {
	var run struct {
		Apps map[string]struct {
			AppPort  int `json:"app_port"`
			DaprHTTP int `json:"dapr_http_port"`
		}
	}
	var tokens map[string]struct {
		Dapr string `json:"dapr_api_token"`
		App  string `json:"app_api_token"`
	}
	for name, v := range map[string]any{"run.json": &run, "tokens.json": &tokens} {
		text, err := os.ReadFile(filepath.Join(shared.data, "run", name))
		if err == nil {
			err = json.Unmarshal(text, v)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	transport := func(http2 bool) *http.Transport {
		var p http.Protocols
		p.SetHTTP1(!http2)
		p.SetUnencryptedHTTP2(http2)
		return &http.Transport{Protocols: &p, MaxIdleConnsPerHost: 64}
	}
	dapr := &http.Client{Timeout: 10 * time.Second, Transport: bearing{transport(false), http.Header{"Dapr-App-Id": {menuapi.App}, "Dapr-Api-Token": {tokens["pricing"].Dapr}}}}
	own := http.Header{"Dapr-Api-Token": {tokens[menuapi.App].App}}
	direct := &http.Client{Timeout: 10 * time.Second, Transport: bearing{transport(false), own}}
	h2c := &http.Client{Timeout: 10 * time.Second, Transport: bearing{transport(true), own}}
	sidecarURL := fmt.Sprintf("http://127.0.0.1:%d", run.Apps["pricing"].DaprHTTP)
	directURL := fmt.Sprintf("http://127.0.0.1:%d", run.Apps[menuapi.App].AppPort)

	typed := func(client *http.Client, url string, opts ...connect.ClientOption) func(context.Context) error {
		c := menuapi.NewMenuServiceClient(client, url, append(opts, connect.WithAcceptCompression("gzip", nil, nil))...)
		return func(ctx context.Context) error {
			resp, err := c.LookupMenu(ctx, connect.NewRequest(lookedUp))
			if err == nil && len(resp.Msg.GetItems()) != 2 {
				err = fmt.Errorf("%d items", len(resp.Msg.GetItems()))
			}
			return err
		}
	}
	plain := func(client *http.Client, url string) func(context.Context) error {
		return func(ctx context.Context) error {
			var out struct {
				Items []struct {
					ID    string `json:"id"`
					Price string `json:"price"` // protobuf's JSON writes 64 bits as text
				} `json:"items"`
			}
			in := map[string]any{"restaurant_id": lookedUp.RestaurantId, "item_ids": lookedUp.ItemIds}
			err := sidecar.Do(ctx, client, url, sidecar.Call{Method: http.MethodPost, Path: menuapi.MenuServiceLookupMenuProcedure, In: in, Out: &out})
			if err == nil && len(out.Items) != 2 {
				err = fmt.Errorf("%d items", len(out.Items))
			}
			return err
		}
	}
	ways := []struct {
		name string
		call func(context.Context) error
	}{
		{"dapr/connect-proto", typed(dapr, sidecarURL)},
		{"dapr/connect-json", typed(dapr, sidecarURL, connect.WithProtoJSON())},
		{"dapr/plain-json", plain(dapr, sidecarURL)},
		{"direct/grpc", typed(h2c, directURL, connect.WithGRPC())},
		{"direct/connect-proto", typed(direct, directURL)},
		{"direct/connect-json", typed(direct, directURL, connect.WithProtoJSON())},
		{"direct/plain-json", plain(direct, directURL)},
	}
	took := make([][]time.Duration, len(ways))
	round := func() {
		for i, way := range ways { // in turn, so that whatever else the machine does is shared alike
			start := time.Now()
			if err := way.call(b.Context()); err != nil {
				b.Fatalf("%s: %v", way.name, err)
			}
			took[i] = append(took[i], time.Since(start))
		}
	}
	for range 20 { // connections, and those of the sidecars
		round()
	}
	clear(took)
	for b.Loop() {
		round()
	}
	least := slices.MinFunc(took, func(a, b []time.Duration) int { return cmp.Compare(median(a), median(b)) })
	for i, way := range ways {
		b.Logf("%-20s %8.2f ms median, %5.1f times the fastest", way.name, median(took[i]).Seconds()*1e3, float64(median(took[i]))/float64(median(least)))
	}
}

func median(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}
