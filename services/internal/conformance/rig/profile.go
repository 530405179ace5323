package rig

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/conformance"
	"github.com/dishmesh/dishmesh/services/internal/platform"
	"github.com/dishmesh/dishmesh/services/internal/profile"
)

// loadProfile lays the profile over what it extends and leaves its subscriptions out: on a bench, each application has
// those of its check.
func loadProfile(home platform.Home, spec string) (*profile.Profile, error) {
	p, err := profile.Load(home.Components(), spec)
	if err != nil {
		return nil, err
	}
	p.Resources = slices.DeleteFunc(p.Resources, func(r profile.Resource) bool { return r.Kind == "Subscription" })
	return p, nil
}

// servers are the brokers and stores of a profile, as the platform runs them.
type servers struct {
	profile *profile.Profile
	run     *platform.Servers
	// resources is the folder that sidecars read, env what its components refer to.
	resources string
	env       []string
}

func startServers(ctx context.Context, home platform.Home, self, data string, p *profile.Profile) (*servers, error) {
	s := &servers{profile: p, resources: filepath.Join(data, "run", "resources")}
	if err := p.Write(s.resources); err != nil {
		return nil, err
	}
	var err error
	s.run, err = platform.StartServers(ctx, platform.ServersConfig{Home: home, Self: self, Data: data, Profile: p})
	if err != nil {
		return nil, err
	}
	// The world outside is not there; nothing of it is asked for.
	s.env = append([]string{"ACQUIRER_URL=http://127.0.0.1:9", "SMS_URL=http://127.0.0.1:9", "PUSH_URL=http://127.0.0.1:9",
		"SMTP_HOST=127.0.0.1", "SMTP_PORT=9"}, s.run.Env...)
	return s, nil
}

// of gives the server that a component connects to.
func (s *servers) of(component string) (conformance.Server, error) {
	c, ok := s.profile.Component(component)
	if !ok {
		return nil, fmt.Errorf("the profile has no component %s", component)
	}
	for _, server := range s.profile.ServerList() {
		for _, set := range c.Metadata {
			if !slices.Contains(server.Vars(), set.EnvRef) {
				continue
			}
			processes := server.Processes(profile.Site{})
			if len(processes) == 0 {
				return nil, fmt.Errorf("%s runs elsewhere and cannot be killed from here", server.Title())
			}
			// The last of its processes is the server itself.
			return &serverPart{name: server.Title(), part: processes[len(processes)-1].Name, sup: s.run.Supervisor}, nil
		}
	}
	return nil, conformance.ErrNoServer
}

// number is the version in what a server says of itself, which has much else.
var number = regexp.MustCompile(`\d+(\.\d+)+`)

// versions says what each server says of itself.
func (s *servers) versions(ctx context.Context) map[string]string {
	out := map[string]string{}
	for _, server := range s.profile.ServerList() {
		found := server.Probe(ctx)
		version := number.FindString(found.Version)
		if version == "" {
			version = found.Where
		}
		out[strings.TrimPrefix(server.Title(), "the ")] = version
	}
	return out
}

// serverPart implements conformance.Server.
type serverPart struct {
	name, part string
	sup        *platform.Supervisor
}

// Name implements conformance.Server.
func (p *serverPart) Name() string { return p.name }

// Kill implements conformance.Server. It returns when the supervisor has seen the end: until then the server counts as
// ready.
func (p *serverPart) Kill() error {
	if err := p.sup.Hold(p.part, true); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		for _, process := range p.sup.Processes(ctx) {
			if process.Name == p.part && process.State == platform.StateHeld {
				return nil
			}
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return errors.New(p.name + " does not end")
		}
	}
}

// Start implements conformance.Server.
func (p *serverPart) Start(ctx context.Context) error {
	if err := p.sup.Release(p.part); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	return p.sup.WaitReady(ctx, p.part)
}
