package cli

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dishmesh/dishmesh/services/internal/audit"
	"github.com/dishmesh/dishmesh/services/internal/platform"
	"github.com/dishmesh/dishmesh/services/internal/profile"
)

// auditStores finds out where a data folder keeps the state of each service: the profile that it was made with says
// so. Servers of stores that do not run are started, and ended by done.
func auditStores(ctx context.Context, layout platform.Layout) (stores audit.Stores, done func(), err error) {
	done = func() {}
	spec, err := platform.ProfileOf(layout)
	if err != nil {
		return nil, done, err
	}
	if spec == "" || spec == profile.Default {
		return audit.SQLite{Dir: layout.State()}, done, nil
	}
	home, err := platform.FindHome()
	if err != nil {
		return nil, done, err
	}
	p, err := profile.Load(home.Components(), spec)
	if err != nil {
		return nil, done, err
	}
	vars := map[string]bool{}
	for _, c := range storeComponents(p) {
		for _, s := range c.Metadata {
			vars[s.EnvRef] = true
		}
	}
	var needed []string
	for _, s := range p.ServerList() {
		for _, v := range s.Vars() {
			if vars[v] {
				needed = append(needed, s.Name())
				break
			}
		}
	}
	var env []string
	if _, runs := platform.Holder(layout); runs || len(needed) == 0 {
		env, err = platform.ServerEnv(layout, p)
	} else {
		self, err2 := os.Executable()
		if err2 != nil {
			return nil, done, err2
		}
		var servers *platform.Servers
		servers, err = platform.StartServers(ctx, platform.ServersConfig{Home: home, Self: self, Data: layout.Data, Profile: p, Only: needed})
		if err == nil {
			env, done = servers.Env, servers.Stop
		}
	}
	if err != nil {
		return nil, done, err
	}
	stores, err = storesByApp(layout, p, env)
	return stores, done, err
}

// storeComponents are the state stores of a profile that hold what is audited.
func storeComponents(p *profile.Profile) []profile.Resource {
	var all []profile.Resource
	for _, app := range platform.Apps() {
		if c, ok := p.Component(app + "-store"); ok {
			all = append(all, c)
		}
	}
	return all
}

// storesByApp reads the stores of a profile where the variables in env say that they are.
func storesByApp(layout platform.Layout, p *profile.Profile, env []string) (audit.Stores, error) {
	byApp := audit.ByApp{}
	for _, c := range storeComponents(p) {
		store, err := auditStore(layout, c, env)
		if err != nil {
			return nil, err
		}
		byApp[strings.TrimSuffix(c.Name, "-store")] = store
	}
	return byApp, nil
}

// auditStore reads a component as Dapr does.
func auditStore(layout platform.Layout, c profile.Resource, env []string) (audit.Stores, error) {
	get := func(name string) string {
		s, _ := c.Setting(name)
		for _, e := range env {
			if key, value, ok := strings.Cut(e, "="); ok && s.EnvRef != "" && key == s.EnvRef {
				return value
			}
		}
		return s.Value
	}
	switch c.Type {
	case "state.sqlite":
		path, _, _ := strings.Cut(strings.TrimPrefix(get("connectionString"), "file:"), "?")
		if !filepath.IsAbs(path) {
			path = filepath.Join(layout.Data, path)
		}
		return audit.SQLite{Dir: filepath.Dir(path)}, nil
	case "state.postgresql":
		u := url.URL{Scheme: "postgres", User: url.UserPassword(get("user"), get("password")), Host: get("host") + ":" + get("port"),
			Path: "/" + get("database"), RawQuery: "sslmode=disable"}
		return audit.Postgres{URL: u.String(), Name: "the database " + get("database") + " in PostgreSQL"}, nil
	case "state.mysql":
		before, after, _ := strings.Cut(get("connectionString"), "/")
		return audit.MySQL{DSN: before + "/" + get("schemaName") + after, Name: "the database " + get("schemaName") + " in MySQL"}, nil
	case "state.redis", "state.redis-atomic":
		db, _ := strconv.Atoi(get("redisDB")) // Dapr has read it before
		return audit.Redis{Addr: get("redisHost"), User: get("redisUsername"), Password: get("redisPassword"), DB: db}, nil
	}
	return nil, fmt.Errorf("%s: the audit cannot read a store of the type %s: add a reader to services/internal/audit", c.At(), c.Type)
}
