package profile

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/broker"
)

// Site is where a server runs: its folder, its ports and what it shares with its clients.
type Site struct {
	// Self is the dishmesh program, which is also the embedded broker.
	Self string
	// Components is the components folder of the checkout.
	Components string
	// Dir holds the server's data and is its own.
	Dir string
	// Ports are the ports on 127.0.0.1, by the names of Server.Ports.
	Ports map[string]int
	// Password guards the server; it is the same for every start on the same data.
	Password string
	// Topics are made before the server counts as ready, and Subscriptions say who hears them.
	Topics        []broker.Topic
	Subscriptions []broker.Subscription
	// Sync makes a broker or store flush every write to the disk before it answers, where that is not the rule.
	Sync bool
}

// Process is one process of a server.
type Process struct {
	// Name is unique in the platform and names the log file.
	Name string
	Path string
	Args []string
	Env  []string
	// Dir is the working folder; empty means the site's.
	Dir string
	// Credential is the user that the process runs as; nil means the caller's.
	Credential *syscall.Credential
	// Prepare is called before every start.
	Prepare func(context.Context) error
	// Ready is one try to find out whether the process does its work. Started, where it is set, must succeed once
	// after every start, before the process counts as ready: it makes topics, databases and the like.
	Ready   func(context.Context) error
	Started func(context.Context) error
	// ReadyWithin is how long a start may take, Grace how long an orderly end may.
	ReadyWithin, Grace time.Duration
	// Stop is the signal for an orderly end; 0 means SIGTERM.
	Stop syscall.Signal
}

// Found is what a probe has to say about a server.
type Found struct {
	// Here reports whether the server can be started or reached.
	Here bool `json:"here"`
	// Version and Where are set when it is here.
	Version string `json:"version,omitempty"`
	Where   string `json:"where,omitempty"`
	// Mend says in one line how to get it when it is not here.
	Mend string `json:"mend,omitempty"`
}

// Server is a program that components connect to.
type Server interface {
	// Name is what a profile.yaml calls it, Title what people call it.
	Name() string
	Title() string
	// Vars are the variables that it sets for the envRefs of components.
	Vars() []string
	// Probe looks for the server without starting it.
	Probe(ctx context.Context) Found
	// Ports names the ports that a start needs, each beginning with Name.
	Ports() []string
	// Env gives the values of Vars.
	Env(at Site) []string
	// Processes are what to start, in the order of need; none for a server that runs elsewhere.
	Processes(at Site) []Process
}

// servers are all that are known, in the order of their start.
func servers() []Server {
	return []Server{Embedded{}, Kafka{}, RabbitMQ{}, Redis{}, Postgres{}, MySQL{},
		External{ID: "cockroachdb", Label: "CockroachDB", Variables: []string{"COCKROACHDB_DSN"}, Get: "start CockroachDB and set COCKROACHDB_DSN, as postgres://user@host:26257/dishmesh"},
		External{ID: "mongodb", Label: "MongoDB", Variables: []string{"MONGODB_HOST"}, Get: "start a MongoDB replica set and set MONGODB_HOST, as host:27017"},
	}
}

// ServerNames lists the servers that a profile.yaml can name.
func ServerNames() []string {
	var out []string
	for _, s := range servers() {
		out = append(out, s.Name())
	}
	return out
}

func serverByName(name string) (Server, bool) {
	i := slices.IndexFunc(servers(), func(s Server) bool { return s.Name() == name })
	if i < 0 {
		return nil, false
	}
	return servers()[i], true
}

// ServerList gives the servers that a profile needs, in the order of their start.
func (p *Profile) ServerList() []Server {
	out := make([]Server, 0, len(p.Servers))
	for _, name := range p.Servers {
		if s, ok := serverByName(name); ok {
			out = append(out, s)
		}
	}
	return out
}

// Missing lists the servers that are needed and not here, one line each with how to get them.
func (p *Profile) Missing(ctx context.Context) []string {
	var out []string
	for _, s := range p.ServerList() {
		if f := s.Probe(ctx); !f.Here {
			out = append(out, s.Title()+" is not here: "+f.Mend)
		}
	}
	return out
}

// PlatformVars are the variables that the platform itself sets for envRefs: the addresses of the outside world.
func PlatformVars() []string {
	return []string{"ACQUIRER_URL", "SMS_URL", "PUSH_URL", "SMTP_HOST", "SMTP_PORT"}
}

// neededServers picks, for every variable that a resource refers to, the server of the highest layer that sets it.
func neededServers(layers []Descriptor, resources []Resource) ([]string, error) {
	provider := map[string]string{}
	for _, l := range layers {
		for _, name := range l.Servers {
			if s, ok := serverByName(name); ok {
				for _, v := range s.Vars() {
					provider[v] = name
				}
			}
		}
	}
	needed := map[string]bool{}
	for _, r := range resources {
		for _, s := range r.Metadata {
			if s.EnvRef == "" || slices.Contains(PlatformVars(), s.EnvRef) {
				continue
			}
			name, ok := provider[s.EnvRef]
			if !ok {
				return nil, fmt.Errorf("%s:%d: %s comes from %s, which nothing sets: name the server that does in profile.yaml (%s), or use one of %s",
					r.File, s.Line, s.Name, s.EnvRef, strings.Join(ServerNames(), ", "), strings.Join(PlatformVars(), ", "))
			}
			needed[name] = true
		}
	}
	var out []string
	for _, name := range ServerNames() {
		if needed[name] {
			out = append(out, name)
		}
	}
	return out, nil
}
