package rig

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dishmesh/dishmesh/services/internal/platform"
)

// CheckProfile says what is wrong with the name of a profile.
func CheckProfile(home platform.Home, name string) error {
	known, err := home.Profiles()
	if err != nil {
		return err
	}
	if !slices.Contains(known, name) {
		return fmt.Errorf("there is no profile %q: choose from %s", name, strings.Join(known, ", "))
	}
	return nil
}

// Load makes a profile ready for a bench.
func Load(home platform.Home, name, data, self string) (Profile, error) {
	return Embedded(home, data, self)
}
