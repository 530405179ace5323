package web

import "net/http"

// VersionHeader says which version of which service answered, as a product of RFC 9110, section 10.2.4: pricing/v2.
// It is how a canary is told from what it stands beside.
const VersionHeader = "Dishmesh-Version"

// Version marks every answer of an app with its version. Without a version there is no mark.
func Version(app, version string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		if version == "" {
			return next
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(VersionHeader, app+"/"+version)
			next.ServeHTTP(w, r)
		})
	}
}
