package web

import (
	"crypto/subtle"
	"net/http"

	"github.com/dishmesh/dishmesh/services/internal/problem"
)

// Headers by which the gateway tells the services who calls. It removes them from what comes in from outside,
// and a service answers nobody but its own sidecar, so they can be trusted.
const (
	SubjectHeader        = "Dishmesh-Subject"
	RoleHeader           = "Dishmesh-Role"
	RestaurantHeader     = "Dishmesh-Restaurant"
	IdempotencyKeyHeader = "Idempotency-Key"
)

// The roles of an account.
const (
	RoleCustomer = "customer"
	RoleKitchen  = "kitchen"
	RoleCourier  = "courier"
	RoleOperator = "operator"
)

// Identity is who calls.
type Identity struct {
	Subject    string // user id, "" for nobody
	Role       string
	Restaurant string // the restaurant of a kitchen account
}

// Caller reads the identity that the gateway vouches for.
func Caller(r *http.Request) Identity {
	return Identity{Subject: r.Header.Get(SubjectHeader), Role: r.Header.Get(RoleHeader), Restaurant: r.Header.Get(RestaurantHeader)}
}

// Set writes the identity to the headers of an outgoing request, replacing what is there.
func (id Identity) Set(h http.Header) {
	for name, v := range map[string]string{SubjectHeader: id.Subject, RoleHeader: id.Role, RestaurantHeader: id.Restaurant} {
		h.Del(name)
		if v != "" {
			h.Set(name, v)
		}
	}
}

// AppToken lets only the sidecar in: it presents the app API token with each call. The paths by which the
// platform looks after the process stay open.
func AppToken(token string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		if token == "" {
			return next
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/healthz", "/readyz", "/metrics":
			default:
				if subtle.ConstantTimeCompare([]byte(r.Header.Get("dapr-api-token")), []byte(token)) != 1 {
					Fail(w, r, problem.New(problem.Unauthenticated, "this port answers the sidecar only"))
					return
				}
			}
			next.ServeHTTP(w, r)
		})
	}
}

// IdempotencyKey gives the request's key, or the problem to answer with.
func IdempotencyKey(r *http.Request) (string, error) {
	key := r.Header.Get(IdempotencyKeyHeader)
	if key == "" {
		return "", problem.New(problem.MissingKey, "send an Idempotency-Key header")
	}
	if len(key) < 8 || len(key) > 128 {
		return "", problem.New(problem.MissingKey, "the key has %d characters; 8 to 128 are allowed", len(key))
	}
	for _, c := range key {
		if c < 0x21 || c > 0x7e {
			return "", problem.New(problem.MissingKey, "the key has a character that is not printable ASCII")
		}
	}
	return key, nil
}
