package web_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/dishmesh/dishmesh/services/internal/web"
)

func TestVersion(t *testing.T) {
	for version, want := range map[string]string{"": "", "v2": "pricing/v2"} {
		w := httptest.NewRecorder()
		h := web.Version("pricing", version)(web.AppToken("secret")(http.NotFoundHandler()))
		h.ServeHTTP(w, httptest.NewRequest("GET", "/v1/quotes", nil))
		if got := w.Header().Get(web.VersionHeader); got != want || w.Code != http.StatusUnauthorized {
			t.Errorf("version %q: status %d, header %q, want it on a refusal too: %q", version, w.Code, got, want)
		}
	}
}
