package eventstore_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// A consumer that misses something gets it in pages, in order; whoever asks for nonsense is told so.
func TestServe(t *testing.T) {
	s := newStore(t)
	for range 3 {
		if _, _, err := s.Update(t.Context(), "acc_1", add(move(1, "ada"))); err != nil {
			t.Fatal(err)
		}
	}
	r := web.Router()
	s.Serve(r)
	for _, tt := range []struct {
		path    string
		status  int
		version int
		got     string // sequences
	}{
		{"/internal/events/account/acc_1", 200, 3, "1 2 3"},
		{"/internal/events/account/acc_1?after=1", 200, 3, "2 3"},
		{"/internal/events/account/acc_1?after=1&limit=1", 200, 3, "2"},
		{"/internal/events/account/acc_1?after=3", 200, 3, ""},
		{"/internal/events/account/acc_1?after=99", 200, 3, ""},
		{"/internal/events/account/acc_2", 200, 0, ""},
		{"/internal/events/order/acc_1", 404, 0, ""},
		{"/internal/events/account/acc_1?after=-1", 422, 0, ""},
		{"/internal/events/account/acc_1?limit=x", 422, 0, ""},
	} {
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest("GET", tt.path, nil))
		var page eventstore.Page
		if w.Code == 200 {
			if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, e := range page.Events {
			got = append(got, e.Sequence)
		}
		if w.Code/100 != tt.status/100 || page.Version != tt.version || strings.Join(got, " ") != tt.got {
			t.Errorf("%s: %d, version %d, events %q; want %d, %d, %q", tt.path, w.Code, page.Version, got, tt.status, tt.version, tt.got)
		}
	}
}

// A head from before there were trails goes on; its next events tell what they can.
func TestHeadWithoutTrail(t *testing.T) {
	s := newStore(t)
	for range 2 {
		if _, _, err := s.Update(t.Context(), "acc_1", add(move(1, "ada"))); err != nil {
			t.Fatal(err)
		}
	}
	item, err := s.fakes.Store.Get(t.Context(), "account/acc_1")
	if err != nil {
		t.Fatal(err)
	}
	old := strings.Replace(string(item.Value), `,"trail":"moved moved"`, "", 1)
	if old == string(item.Value) {
		t.Fatalf("no trail in %s", old)
	}
	if err := s.fakes.Store.Transact(t.Context(), sidecar.Op{Key: "account/acc_1", Value: []byte(old)}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, _, err := s.Update(t.Context(), "acc_1", add(move(1, "ada"))); err != nil {
			t.Fatal(err)
		}
	}
	events, err := s.History(t.Context(), "acc_1", 0)
	if err != nil {
		t.Fatal(err)
	}
	var trails []string
	for _, e := range events {
		trails = append(trails, e.Trail)
	}
	if diff := cmp.Diff([]string{"", "moved", "", "moved"}, trails); diff != "" {
		t.Errorf("trails (-want +got):\n%s", diff)
	}
}
