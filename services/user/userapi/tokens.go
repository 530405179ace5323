package userapi

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"

	"github.com/dishmesh/dishmesh/services/internal/web"
)

// What an access token is pinned to.
const (
	Issuer    = "dishmesh"
	Audience  = "dishmesh-api"
	Algorithm = "EdDSA" // Ed25519 (RFC 8037); a token that names another algorithm is refused
)

// KeySetPath is where the keys are served (RFC 8615).
const KeySetPath = "/.well-known/jwks.json"

// Claims are those of an access token. Its header has the id of the key that signed it (kid).
type Claims struct {
	jwt.RegisteredClaims
	Role       string `json:"role"`
	Restaurant string `json:"restaurant,omitempty"`
}

// Identity is whom the token speaks for.
func (c Claims) Identity() web.Identity {
	return web.Identity{Subject: c.Subject, Role: c.Role, Restaurant: c.Restaurant}
}

// KeySet is a JSON Web Key Set (RFC 7517, section 5).
type KeySet struct {
	Keys []Key `json:"keys"`
}

// Key is the public half of an Ed25519 key as a JSON Web Key (RFC 8037, section 2).
type Key struct {
	Type      string `json:"kty"` // "OKP"
	Curve     string `json:"crv"` // "Ed25519"
	ID        string `json:"kid"`
	Use       string `json:"use"` // "sig"
	Algorithm string `json:"alg"`
	X         string `json:"x"` // the key, base64url without padding
}

// NewKey is the JSON Web Key of a public key.
func NewKey(id string, pub ed25519.PublicKey) Key {
	return Key{Type: "OKP", Curve: "Ed25519", ID: id, Use: "sig", Algorithm: Algorithm, X: base64.RawURLEncoding.EncodeToString(pub)}
}

// Public decodes the key. It refuses what is not an Ed25519 key for signatures.
func (k Key) Public() (ed25519.PublicKey, error) {
	if k.Type != "OKP" || k.Curve != "Ed25519" || k.Use != "sig" || k.ID == "" {
		return nil, fmt.Errorf("key %q: not an Ed25519 key for signatures", k.ID)
	}
	b, err := base64.RawURLEncoding.DecodeString(k.X)
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", k.ID, err)
	}
	if len(b) != ed25519.PublicKeySize {
		return nil, errors.New("key " + k.ID + ": wrong length")
	}
	return b, nil
}
