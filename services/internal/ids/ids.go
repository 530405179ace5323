// Package ids makes identifiers that say what they name: a short prefix and 26 characters of lower-case
// Crockford base 32, either random and sortable by time (as ULID does) or derived from what they stand for.
package ids

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"strings"
	"time"
)

var encoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// New returns prefix_<26 characters>: 48 bits of milliseconds and 80 random bits (the layout of ULID).
func New(prefix string) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(time.Now().UnixMilli())<<16)
	rand.Read(b[6:]) // crypto/rand.Read never fails (Go 1.24)
	return prefix + "_" + encoding.EncodeToString(b[:])
}

// Derive returns the same id for the same parts, always. A request that is repeated with its idempotency key
// thereby names the very thing that it made the first time.
func Derive(prefix string, parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return prefix + "_" + encoding.EncodeToString(h.Sum(nil)[:16])
}

// Valid reports whether id has the prefix and the form of an id made here.
func Valid(prefix, id string) bool {
	rest, ok := strings.CutPrefix(id, prefix+"_")
	if !ok || len(rest) != 26 {
		return false
	}
	_, err := encoding.DecodeString(rest)
	return err == nil
}
