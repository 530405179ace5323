package ids_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/dishmesh/dishmesh/services/internal/ids"
)

func TestNew(t *testing.T) {
	seen := map[string]bool{}
	for range 10_000 {
		id := ids.New("ord")
		if !ids.Valid("ord", id) || seen[id] {
			t.Fatalf("New = %q: not valid, or twice", id)
		}
		seen[id] = true
	}
}

// Ids sort by the time at which they were made.
func TestNewSortsByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		last := ""
		for range 1000 {
			id := ids.New("ord")
			if id <= last {
				t.Fatalf("%q after %q", id, last)
			}
			last = id
			time.Sleep(time.Millisecond) // no time passes: it is a bubble
		}
	})
}

func TestDerive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.String(), 1, 4).Draw(t, "parts")
		id := ids.Derive("ntf", parts...)
		if !ids.Valid("ntf", id) || id != ids.Derive("ntf", parts...) {
			t.Fatalf("Derive = %q: not valid, or not the same again", id)
		}
		others := rapid.SliceOfN(rapid.String(), 1, 4).Draw(t, "others")
		same := len(parts) == len(others)
		for i := 0; same && i < len(parts); i++ {
			same = parts[i] == others[i]
		}
		if (ids.Derive("ntf", others...) == id) != same {
			t.Fatalf("%q and %q give the same id", parts, others)
		}
	})
	// Where one part ends and the next begins counts.
	if ids.Derive("a", "bc", "d") == ids.Derive("a", "b", "cd") {
		t.Error("the border between parts is lost")
	}
	// Ids that are stored must never change.
	if got, want := ids.Derive("ntf", "order/ord_1/1", "email"), "ntf_c4grz619yc6c9g2srej6m9hgjr"; got != want {
		t.Errorf("Derive = %q, want %q", got, want)
	}
}

func TestValid(t *testing.T) {
	good := ids.New("usr")
	for id, want := range map[string]bool{
		good: true, "": false, "usr_": false, "usr": false, good[:len(good)-1]: false, good + "0": false,
		strings.ToUpper(good): false, "ord" + good[3:]: false, good[:29] + "l": false, good[:29] + "/": false,
		"usr_" + strings.Repeat("0", 26): true,
	} {
		if got := ids.Valid("usr", id); got != want {
			t.Errorf("Valid(%q) = %t, want %t", id, got, want)
		}
	}
}
