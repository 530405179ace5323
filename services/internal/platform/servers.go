package platform

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/dishmesh/dishmesh/services/internal/broker"
	"github.com/dishmesh/dishmesh/services/internal/profile"
)

// Servers is the folder of the servers that a profile brings along, one below it for each.
func (l Layout) Servers(name string) string {
	if name == (profile.Embedded{}).Name() {
		return l.Broker()
	}
	return l.path("servers", name)
}

// Resources is the folder that the sidecars read: the resources of the profile in force, written at every start.
func (l Layout) Resources() string { return l.path("run", "resources") }

// serverPart makes a supervised part of a server's process. needs are the parts before it.
func serverPart(cfg Config, p profile.Process, dir string, needs []string) Part {
	if p.Dir != "" {
		dir = p.Dir
	}
	part := Part{
		Name: p.Name, Kind: KindStore, Path: p.Path, Args: p.Args, Dir: dir, Needs: needs, Phase: PhaseBroker,
		Env:   func() ([]string, error) { return append(append([]string{}, p.Env...), cfg.Set[p.Name]...), nil },
		Ready: p.Ready, ReadyWithin: p.ReadyWithin, Grace: p.Grace,
		Prepare: p.Prepare, Credential: p.Credential, StopSignal: p.Stop,
	}
	if p.Path == cfg.Self {
		part.Env = cfg.partEnv(p.Name, p.Env...)
	}
	if p.Started != nil {
		part.FirstReady = func() func(context.Context) error {
			return func(ctx context.Context) error {
				if err := p.Ready(ctx); err != nil {
					return err
				}
				return p.Started(ctx)
			}
		}
	}
	return part
}

// site says where a server of this data folder runs.
func site(cfg Config, l Layout, name string, ports map[string]int, secrets Secrets) (profile.Site, error) {
	subs, err := broker.ReadSubscriptions(cfg.Home.Components("subscriptions"))
	if err != nil {
		return profile.Site{}, err
	}
	topics, err := broker.Topics(subs)
	return profile.Site{Self: cfg.Self, Components: cfg.Home.Components(), Dir: l.Servers(name), Ports: ports,
		Password: secrets.ServerPassword, Topics: topics, Subscriptions: subs, Sync: cfg.SyncWrites}, err
}

// loadProfile lays the profile's components over each other and looks for the servers that they need.
func loadProfile(ctx context.Context, cfg Config) (*profile.Profile, error) {
	p, err := profile.Load(cfg.Home.Components(), cfg.Profile)
	if err != nil {
		return nil, err
	}
	if missing := p.Missing(ctx); len(missing) > 0 {
		return nil, fmt.Errorf("the profile %s cannot run here: %s", p.Spec, strings.Join(missing, "; "))
	}
	return p, nil
}

// chosenProfile is profile.json in a data folder: what its data were made with.
type chosenProfile struct {
	Profile string `json:"profile"`
}

// ProfileOf is the profile that a data folder was made with; empty when it is new.
func ProfileOf(l Layout) (string, error) {
	var have chosenProfile
	err := readJSON(l.path("profile.json"), &have)
	switch {
	case err == nil:
		return have.Profile, nil
	case !errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("%s is broken, mend it or remove it: %w", l.path("profile.json"), err)
	}
	// Folders from before there were other profiles hold the default one.
	if _, err := os.Stat(l.Accounts()); err == nil {
		return profile.Default, nil
	}
	return "", nil
}

// keepProfile refuses to run another profile on the data of one: its stores would seem empty and its events lost.
func keepProfile(l Layout, spec string) error {
	have, err := ProfileOf(l)
	if err != nil {
		return err
	}
	if have != "" && have != spec {
		return fmt.Errorf("the data folder %s was made with the profile %s: start it with --profile %s, or choose another folder for %s with --data", l.Data, have, have, spec)
	}
	return writeJSON(l.path("profile.json"), chosenProfile{spec}, 0o600)
}

// ServersConfig says which servers to run without the platform, and where.
type ServersConfig struct {
	Home Home
	// Self is the dishmesh program.
	Self string
	// Data is the data folder; the servers keep theirs below it.
	Data    string
	Profile *profile.Profile
	// Only are the names of servers to run; empty means all of the profile.
	Only []string
	// Topics and Subscriptions are what to make in a broker; nil means those of the platform.
	Topics        []broker.Topic
	Subscriptions []broker.Subscription
	SyncWrites    bool
	OnEvent       func(Event)
}

// Servers are the servers of a profile, running without the platform: for checks of brokers and stores by themselves,
// and to read stores while the platform is down.
type Servers struct {
	Supervisor *Supervisor
	// Env sets the variables that components refer to.
	Env []string
	// Broker is the part through which events go; empty when the profile's broker runs elsewhere.
	Broker string
	// Layout is the data folder.
	Layout Layout

	unlock   func() error
	stopOnce sync.Once
}

// StartServers starts them and returns when all are ready. The data folder is held until Stop.
func StartServers(ctx context.Context, c ServersConfig) (*Servers, error) {
	layout, err := OpenLayout(c.Data)
	if err != nil {
		return nil, err
	}
	lock, err := lockData(layout)
	if err != nil {
		return nil, err
	}
	s := &Servers{Layout: layout, unlock: lock.Close}
	if err := s.start(ctx, c); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

func (s *Servers) start(ctx context.Context, c ServersConfig) error {
	if missing := c.Profile.Missing(ctx); len(missing) > 0 {
		return fmt.Errorf("the profile %s cannot run here: %s", c.Profile.Spec, strings.Join(missing, "; "))
	}
	cfg := Config{Home: c.Home, Self: c.Self, SyncWrites: c.SyncWrites}
	p := &plan{cfg: cfg, layout: s.Layout, profile: c.Profile, only: c.Only, topics: c.Topics, subscriptions: c.Subscriptions}
	var err error
	if p.secrets, err = ensureSecrets(s.Layout); err != nil {
		return err
	}
	if err := keepProfile(s.Layout, c.Profile.Spec); err != nil {
		return err
	}
	book := openPorts(s.Layout)
	book.keepAll()
	p.ports = map[string]int{}
	if err := p.chooseServerPorts(book); err != nil {
		return err
	}
	if err := book.save(); err != nil {
		return err
	}
	parts, err := p.servers()
	if err != nil {
		return err
	}
	s.Env, s.Broker = p.serverEnv, p.brokerPart
	if s.Supervisor, err = NewSupervisor(SupervisorConfig{Parts: parts, LogPath: s.Layout.Log, OnEvent: c.OnEvent}); err != nil {
		return err
	}
	return s.Supervisor.Start(ctx)
}

// ServerEnv sets the variables that components refer to as the last start on a data folder did.
func ServerEnv(l Layout, p *profile.Profile) ([]string, error) {
	secrets, err := ensureSecrets(l)
	if err != nil {
		return nil, err
	}
	var env []string
	for _, s := range p.ServerList() {
		env = append(env, s.Env(profile.Site{Dir: l.Servers(s.Name()), Ports: openPorts(l).old, Password: secrets.ServerPassword})...)
	}
	return env, nil
}

// Stop ends the servers and lets the data folder go. It is safe to call twice.
func (s *Servers) Stop() {
	s.stopOnce.Do(func() {
		if s.Supervisor != nil {
			s.Supervisor.Stop()
		}
		_ = s.unlock() // the kernel lets go in any case
	})
}
