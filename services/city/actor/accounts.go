// Package actor holds what the simulated kitchens and couriers share: their accounts, their pace, the
// directives they obey, and how they stay in touch with a platform that may be killed at any time.
package actor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
)

// The roles of accounts that the city plays.
const (
	RoleKitchen = "kitchen"
	RoleCourier = "courier"
)

// Account is one entry of the file of accounts.
type Account struct {
	Email        string `json:"email"`
	Password     string `json:"password"`
	Name         string `json:"name"`
	Role         string `json:"role"`
	RestaurantID string `json:"restaurant_id"` // of a kitchen
}

// ReadAccounts reads the file of accounts that "dishmesh up" writes. The error says what to do.
func ReadAccounts(path string) ([]Account, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no file of accounts at %s: \"dishmesh up\" writes it; or use --no-actors", path)
	}
	if err != nil {
		return nil, fmt.Errorf("file of accounts: %w", err)
	}
	var accounts []Account
	if err := json.Unmarshal(raw, &accounts); err != nil {
		return nil, fmt.Errorf("file of accounts %s: %w: mend it, or remove it and run \"dishmesh up\"", path, err)
	}
	for i, a := range accounts {
		if a.Email == "" || a.Password == "" || a.Role == RoleKitchen && a.RestaurantID == "" {
			return nil, fmt.Errorf("file of accounts %s: account %d lacks email, password or, for a kitchen, restaurant_id", path, i+1)
		}
	}
	return accounts, nil
}

// Directive finds what a note tells a role to do: "city:kitchen=reject" tells a kitchen to reject. Any
// customer may write one, so that a demonstration needs no back door. "" is none.
func Directive(note, role string) string {
	for _, word := range strings.Fields(note) {
		if what, ok := strings.CutPrefix(word, "city:"+role+"="); ok {
			return strings.TrimRight(what, ".,;!?")
		}
	}
	return ""
}
