package correlation_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/correlation"
)

const (
	traceID     = "0af7651916cd43dd8448eb211c80319c"
	traceParent = "00-" + traceID + "-b7ad6b7169203331-01"
)

func TestTraceID(t *testing.T) {
	for in, want := range map[string]string{
		traceParent:                  traceID,
		"":                           "",
		"00-abc-def-01":              "",
		strings.ToUpper(traceParent): "",
		"00-" + strings.Repeat("0", 32) + "-b7ad6b7169203331-01": "",
		"00-" + traceID + "-" + strings.Repeat("0", 16) + "-01":  "",
		"ff" + traceParent[2:]:                     "",
		"cc" + traceParent[2:]:                     traceID, // a later version
		traceParent + "-more":                      "",
		"0x" + traceParent[2:]:                     "",
		traceParent[:20] + "\n" + traceParent[21:]: "",
	} {
		if got := correlation.TraceID(in); got != want {
			t.Errorf("TraceID(%q) = %q, want %q", in, got, want)
		}
	}
	for range 100 {
		if tp := correlation.NewTraceParent(); correlation.TraceID(tp) == "" {
			t.Errorf("NewTraceParent() = %q, which is malformed", tp)
		}
	}
}

func TestFromRequest(t *testing.T) {
	tests := []struct {
		name, id, trace string
		keepsID, keeps  bool
	}{
		{"both", "req_1.a-B", traceParent, true, true},
		{"neither", "", "", false, false},
		{"header injection", "a\r\nSet-Cookie: x", traceParent, false, true},
		{"too long", strings.Repeat("a", 65), traceParent, false, true},
		{"longest", strings.Repeat("a", 64), traceParent, true, true},
		{"not ASCII", "rëq", "00-1", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header[correlation.RequestIDHeader] = []string{tt.id}
			r.Header.Set(correlation.TraceParentHeader, tt.trace)
			got := correlation.FromRequest(r)
			if (got.RequestID == tt.id) != tt.keepsID || got.RequestID == "" {
				t.Errorf("request id %q of %q", got.RequestID, tt.id)
			}
			if (got.TraceParent == tt.trace) != tt.keeps || correlation.TraceID(got.TraceParent) == "" {
				t.Errorf("traceparent %q of %q", got.TraceParent, tt.trace)
			}
		})
	}
}

func TestTravel(t *testing.T) {
	want := correlation.IDs{RequestID: "req_1", TraceParent: traceParent}
	ctx := correlation.With(context.Background(), want)
	h := http.Header{}
	correlation.From(ctx).Set(h)
	r := httptest.NewRequest("GET", "/", nil)
	r.Header = h
	if diff := cmp.Diff(want, correlation.FromRequest(r)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	empty := http.Header{}
	correlation.From(context.Background()).Set(empty)
	if len(empty) != 0 {
		t.Errorf("headers without ids: %v", empty)
	}
}
