package platform

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// Account is one of the accounts that a fresh platform starts with. The user service creates them; the city and the
// command line log in with them through the public API.
type Account struct {
	Email        string `json:"email"`
	Password     string `json:"password"`
	Name         string `json:"name"`
	Role         string `json:"role"`
	RestaurantID string `json:"restaurant_id,omitempty"`
}

const (
	kitchens = 12
	couriers = 24
)

// restaurantIDs are the fixed ids of the restaurants that the menu service seeds, in the order of the kitchens.
func restaurantID(i int) string { return fmt.Sprintf("rst_%02d", i) }

// ensureAccounts writes accounts.json on the first start; later ones leave it alone.
func ensureAccounts(l Layout) error {
	var have []Account
	err := readJSON(l.Accounts(), &have)
	if err == nil && len(have) > 0 {
		return nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is broken, mend it or remove it: %w", l.Accounts(), err)
	}
	accounts := BootstrapAccounts(func(string) string { return randomToken() })
	return writeJSON(l.Accounts(), accounts, 0o600)
}

// BootstrapAccounts lists the accounts that a fresh platform starts with: an operator, the kitchens and the couriers. The
// password of each is asked for by its address.
func BootstrapAccounts(password func(email string) string) []Account {
	var accounts []Account
	add := func(email, name, role, restaurant string) {
		accounts = append(accounts, Account{Email: email, Password: password(email), Name: name, Role: role, RestaurantID: restaurant})
	}
	add("operator@dishmesh.local", "Operator", "operator", "")
	for i := 1; i <= kitchens; i++ {
		add(fmt.Sprintf("kitchen-%02d@dishmesh.local", i), fmt.Sprintf("Kitchen %02d", i), "kitchen", restaurantID(i))
	}
	for i := 1; i <= couriers; i++ {
		add(fmt.Sprintf("courier-%02d@dishmesh.local", i), fmt.Sprintf("Courier %02d", i), "courier", "")
	}
	return accounts
}

// Secrets is what the platform shares with the outside world.
type Secrets struct {
	AcquirerAPIKey string `json:"acquirer_api_key"`
	// ServerPassword guards the brokers and stores that the platform starts.
	ServerPassword string `json:"server_password"`
}

// ensureSecrets reads secrets.json and writes it on the first start.
func ensureSecrets(l Layout) (Secrets, error) {
	var s Secrets
	err := readJSON(l.Secrets(), &s)
	if err == nil && s.AcquirerAPIKey != "" && s.ServerPassword != "" {
		return s, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return s, fmt.Errorf("%s is broken, mend it or remove it: %w", l.Secrets(), err)
	}
	if s.AcquirerAPIKey == "" {
		s.AcquirerAPIKey = randomToken()
	}
	if s.ServerPassword == "" {
		s.ServerPassword = randomToken()
	}
	return s, writeJSON(l.Secrets(), s, 0o600)
}

// AppTokens are the tokens between one service and its sidecar, new for every run.
type AppTokens struct {
	// DaprAPI is what the service shows its sidecar.
	DaprAPI string `json:"dapr_api_token"`
	// AppAPI is what the sidecar shows its service.
	AppAPI string `json:"app_api_token"`
}

func newTokens(l Layout, apps []string) (map[string]AppTokens, error) {
	out := make(map[string]AppTokens, len(apps))
	for _, app := range apps {
		out[app] = AppTokens{DaprAPI: randomToken(), AppAPI: randomToken()}
	}
	return out, writeJSON(l.Tokens(), out, 0o600)
}

// randomToken has 192 random bits.
func randomToken() string {
	b := make([]byte, 24)
	_, _ = rand.Read(b) // never fails, see crypto/rand.Read
	return base64.RawURLEncoding.EncodeToString(b)
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}
