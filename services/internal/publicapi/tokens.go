package publicapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// Credentials are what an account logs in with.
type Credentials = userapi.Credentials

// User is the account that a client acts for.
type User = userapi.User

type tokens struct {
	access  string
	refresh string
	renewAt time.Time // some time before the access token expires
}

// Login makes the client act for an account from now on. It remembers the credentials, to log in again when
// the refresh token is no good any more.
func (c *Client) Login(ctx context.Context, email, password string) (User, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.login = Credentials{Email: email, Password: password}
	a, err := c.logIn(ctx)
	return a.User, err
}

// accessToken gives the token to send, "" for a client that has not logged in. It renews a token that is about
// to expire, and one that was refused.
func (c *Client) accessToken(ctx context.Context, refused string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.login.Email == "":
		return "", nil
	case c.token.access != "" && c.token.access != refused && c.now().Before(c.token.renewAt):
		return c.token.access, nil
	}
	err := c.renew(ctx)
	return c.token.access, err
}

// renew gets new tokens with the refresh token, or by logging in where that is refused. c.mu is held.
func (c *Client) renew(ctx context.Context) error {
	if c.token.refresh != "" {
		in := userapi.RefreshRequest{RefreshToken: c.token.refresh}
		_, err := c.fetchTokens(ctx, "/v1/tokens/refresh", in)
		if err == nil || !problem.Permanent(err) {
			return err
		}
		c.token.refresh = ""
	}
	_, err := c.logIn(ctx)
	return err
}

func (c *Client) logIn(ctx context.Context) (userapi.Tokens, error) {
	if c.gate != nil {
		select {
		case c.gate <- struct{}{}:
			defer func() { <-c.gate }()
		case <-ctx.Done():
			return userapi.Tokens{}, ctx.Err()
		}
	}
	return c.fetchTokens(ctx, "/v1/tokens", c.login)
}

func (c *Client) fetchTokens(ctx context.Context, path string, in any) (userapi.Tokens, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return userapi.Tokens{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.sendWith(ctx, http.MethodPost, path, body, nil, "")
	if err != nil {
		return userapi.Tokens{}, err
	}
	defer drain(resp.Body)
	if resp.StatusCode/100 != 2 {
		return userapi.Tokens{}, problem.Read(resp)
	}
	var a userapi.Tokens
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		return a, problem.Wrap(err, problem.Unavailable, "%s: the answer is not the JSON that is expected", path)
	}
	if a.AccessToken == "" {
		return a, errors.New(path + ": the answer has no access_token")
	}
	life := time.Duration(a.ExpiresIn) * time.Second
	c.token = tokens{access: a.AccessToken, refresh: a.RefreshToken, renewAt: c.now().Add(life - min(life/5, time.Minute))}
	return a, nil
}
