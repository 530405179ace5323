// Package userapi is the contract of the user service: its wire types, its events, the claims of its access
// tokens and its client.
package userapi

import (
	"context"
	"net/http"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// App is the service's app id.
const App = "user"

// Registration is the body of POST /v1/users. Without a role it makes a customer; anybody may register customers
// and couriers, an operator any role. A kitchen account needs the restaurant that it works for.
type Registration struct {
	Email        string `json:"email" validate:"required,email,max=254"`
	Password     string `json:"password" validate:"required,min=10,max=128"`
	Name         string `json:"name" validate:"required,max=100"`
	Phone        string `json:"phone,omitempty" validate:"omitempty,e164"`
	Role         string `json:"role,omitempty" validate:"omitempty,oneof=customer kitchen courier operator"`
	RestaurantID string `json:"restaurant_id,omitempty" validate:"max=64"`
}

// Credentials is the body of POST /v1/tokens.
type Credentials struct {
	Email    string `json:"email" validate:"required,max=254"`
	Password string `json:"password" validate:"required,max=128"`
}

// RefreshRequest is the body of POST /v1/tokens/refresh and of POST /v1/tokens/revoke.
type RefreshRequest struct {
	RefreshToken string `json:"refresh_token" validate:"required,max=128"`
}

// Tokens is the answer to a login and to a refresh (the names are those of RFC 6749, section 5.1).
type Tokens struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"` // "Bearer"
	ExpiresIn    int    `json:"expires_in"` // seconds
	RefreshToken string `json:"refresh_token"`
	User         User   `json:"user"`
}

// User is an account as its owner sees it.
type User struct {
	ID           string      `json:"id"`
	Email        string      `json:"email"`
	Name         string      `json:"name"`
	Phone        string      `json:"phone,omitempty"`
	Role         string      `json:"role"`
	RestaurantID string      `json:"restaurant_id,omitempty"` // of a kitchen account
	Preferences  Preferences `json:"preferences"`
	CreatedAt    time.Time   `json:"created_at"`
}

// UserPatch is the body of PATCH /v1/users/me: what is left out stays. An empty phone number removes it.
type UserPatch struct {
	Name  *string `json:"name,omitempty" validate:"omitnil,min=1,max=100"`
	Phone *string `json:"phone,omitempty" validate:"omitnil,max=20"`
}

// Preferences say by which channels an account wants to be told.
type Preferences struct {
	Email bool `json:"email"`
	SMS   bool `json:"sms"`
	Push  bool `json:"push"`
}

// PreferencesUpdate is the body of PUT /v1/users/me/preferences. All channels must be named.
type PreferencesUpdate struct {
	Email *bool `json:"email" validate:"required"`
	SMS   *bool `json:"sms" validate:"required"`
	Push  *bool `json:"push" validate:"required"`
}

// NewAddress is the body of POST /v1/users/me/addresses. The position is in degrees (WGS 84).
type NewAddress struct {
	Label  string   `json:"label,omitempty" validate:"max=50"`
	Street string   `json:"street" validate:"required,max=200"`
	Lat    *float64 `json:"lat" validate:"required,gte=-90,lte=90"`
	Lon    *float64 `json:"lon" validate:"required,gte=-180,lte=180"`
	Note   string   `json:"note,omitempty" validate:"max=200"`
}

// Address is a place where an account has things delivered.
type Address struct {
	ID     string  `json:"id"`
	Label  string  `json:"label,omitempty"`
	Street string  `json:"street"`
	Lat    float64 `json:"lat"`
	Lon    float64 `json:"lon"`
	Note   string  `json:"note,omitempty"`
}

// AddressList is the answer of GET /v1/users/me/addresses.
type AddressList struct {
	Addresses []Address `json:"addresses"`
}

// Client calls the user service.
type Client struct{ sidecar.Invoker }

// keySetWithin bounds the reading of the keys: every request with a token that isn't known yet waits for it.
const keySetWithin = 2 * time.Second

// KeySet reads the keys that access tokens are verified with.
func (c Client) KeySet(ctx context.Context) (KeySet, error) {
	var set KeySet
	err := c.Invoke(ctx, sidecar.Call{App: App, Method: http.MethodGet, Path: KeySetPath, Out: &set, Within: keySetWithin})
	return set, err
}
