package cli

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dishmesh/dishmesh/services/city"
	"github.com/dishmesh/dishmesh/services/internal/audit"
	"github.com/dishmesh/dishmesh/services/internal/kubectl"
	"github.com/dishmesh/dishmesh/services/internal/platform"
	"github.com/dishmesh/dishmesh/services/internal/profile"
	"github.com/dishmesh/dishmesh/services/internal/rights"
	"github.com/dishmesh/dishmesh/services/notification/notificationapi"
)

// What the audit needs to know of k8s/.
const (
	// clusterProfile is the profile whose stores the cluster has (components/cluster).
	clusterProfile = "cluster"
	dataNamespace  = "dishmesh-data"
	cityNamespace  = "dishmesh-city"
	cityPod        = "city-0"
	cityProgram    = "/dishmesh"
	cityFolder     = "/data"
)

// clusterServers are the servers of its stores: their Service, port, the secret of their users, and the variables by which
// components name them.
var clusterServers = []struct {
	name   string
	port   int
	secret string
	env    func(host, port, password string) []string
}{
	{"postgres", 5432, "postgres-users", func(host, port, password string) []string {
		return []string{"POSTGRES_HOST=" + host, "POSTGRES_PORT=" + port, "POSTGRES_USER=" + rights.Admin, "POSTGRES_PASSWORD=" + password}
	}},
	{"redis", 6379, "redis-users", func(host, port, password string) []string {
		return []string{"REDIS_HOST=" + net.JoinHostPort(host, port), "REDIS_USERNAME=" + rights.Admin, "REDIS_PASSWORD=" + password}
	}},
}

// clusterAuditConfig says how the stores of a cluster are read: as their administrator, through ports that kubectl opens
// on this machine for as long as the audit takes. done must be called at the end, also after an error.
func clusterAuditConfig(ctx context.Context, dir string, cluster kubectl.Cluster) (cfg audit.Config, done func(), err error) {
	var undo []func()
	done = func() {
		for _, f := range slices.Backward(undo) {
			f()
		}
	}
	var env []string
	for _, s := range clusterServers {
		password, err := cluster.Secret(ctx, dataNamespace, s.secret, rights.Admin)
		if err != nil {
			return cfg, done, err
		}
		addr, stop, err := cluster.Forward(ctx, dataNamespace, "svc/"+s.name, s.port)
		if err != nil {
			return cfg, done, err
		}
		undo = append(undo, stop)
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return cfg, done, err
		}
		env = append(env, s.env(host, port, password)...)
	}
	home, err := platform.FindHome()
	if err != nil {
		return cfg, done, err
	}
	p, err := profile.Load(home.Components(), clusterProfile)
	if err != nil {
		return cfg, done, err
	}
	layout := platform.Layout{Data: clusterFolder(dir)}
	stores, err := storesByApp(layout, p, env)
	if err != nil {
		return cfg, done, err
	}
	files, err := os.MkdirTemp("", "dishmesh-audit-")
	if err != nil {
		return cfg, done, err
	}
	undo = append(undo, func() { _ = os.RemoveAll(files) }) // a folder for temporary files
	// The customers' journal outlives clusters: what was promised before this one was there is none of its orders.
	var first struct {
		Metadata struct {
			CreationTimestamp time.Time `json:"creationTimestamp"`
		} `json:"metadata"`
	}
	if err := cluster.Get(ctx, &first, "namespace", "kube-system"); err != nil {
		return cfg, done, err
	}
	cfg = auditOf(stores, layout, files)
	cfg.Since = first.Metadata.CreationTimestamp
	cfg.Fetch = func(ctx context.Context) error { return fetchCity(ctx, cluster, files) }
	return cfg, done, nil
}

// fetchCity copies the city's files into a folder.
func fetchCity(ctx context.Context, cluster kubectl.Cluster, dir string) error {
	r, w := io.Pipe()
	go func() {
		w.CloseWithError(cluster.Exec(ctx, w, cityNamespace, cityPod, cityProgram, "city", "files", "--data", cityFolder))
	}()
	err := untar(r, dir)
	r.CloseWithError(err)
	if err != nil {
		return fmt.Errorf("what the outside world received: %w", err)
	}
	return nil
}

// untar writes the files of an archive into a folder, those of the city and no others.
func untar(r io.Reader, dir string) error {
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !slices.Contains(city.Files(), h.Name) {
			return fmt.Errorf("%q is no file of the city", h.Name)
		}
		f, err := os.OpenFile(filepath.Join(dir, h.Name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, archive)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
}

// cityJournals are the files of what was received, by channel.
func cityJournals(dir string) map[string]string {
	return map[string]string{
		notificationapi.Email: filepath.Join(dir, city.MailFile),
		notificationapi.SMS:   filepath.Join(dir, city.SMSFile),
		notificationapi.Push:  filepath.Join(dir, city.PushFile),
	}
}
