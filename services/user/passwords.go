package user

import (
	"context"
	"fmt"
	"time"

	"github.com/alexedwards/argon2id"

	"github.com/dishmesh/dishmesh/services/internal/problem"
)

// hashParams are those that the OWASP Password Storage Cheat Sheet recommends: 19 MiB, 2 passes, 1 lane.
var hashParams = argon2id.Params{Memory: 19 << 10, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

const (
	hashesAtOnce  = 2   // 19 MiB and a core each
	hashesWaiting = 200 // about 3 s of work; more are turned away
)

// passwords hashes and compares, a few at a time, so that a wave of logins costs time and not memory.
type passwords struct {
	params  argon2id.Params
	dummy   string // what a login to an unknown account is compared with, so that it takes as long
	running chan struct{}
	waiting chan struct{}
}

func newPasswords(params argon2id.Params) (*passwords, error) {
	dummy, err := argon2id.CreateHash("no password has this hash", &params)
	if err != nil {
		return nil, fmt.Errorf("hash: %w", err)
	}
	return &passwords{params: params, dummy: dummy, running: make(chan struct{}, hashesAtOnce), waiting: make(chan struct{}, hashesWaiting)}, nil
}

func (p *passwords) hash(ctx context.Context, password string) (hash string, err error) {
	if err := p.enter(ctx); err != nil {
		return "", err
	}
	defer p.leave()
	return argon2id.CreateHash(password, &p.params)
}

// matches compares with hash, or with nothing in the same time if that is "".
func (p *passwords) matches(ctx context.Context, password, hash string) (bool, error) {
	if err := p.enter(ctx); err != nil {
		return false, err
	}
	defer p.leave()
	if hash == "" {
		_, err := argon2id.ComparePasswordAndHash(password, p.dummy)
		return false, err
	}
	return argon2id.ComparePasswordAndHash(password, hash)
}

func (p *passwords) enter(ctx context.Context) error {
	select {
	case p.waiting <- struct{}{}:
		defer func() { <-p.waiting }()
	default:
		return problem.New(problem.Unavailable, "too many people log in at once").After(2 * time.Second)
	}
	select {
	case p.running <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *passwords) leave() { <-p.running }
