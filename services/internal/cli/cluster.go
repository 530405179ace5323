package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dishmesh/dishmesh/services/internal/cluster"
	"github.com/dishmesh/dishmesh/services/internal/platform"
)

func init() { register(newCluster) }

func newCluster() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "cluster",
		GroupID: groupPlatform,
		Short:   "Run the platform on a kind cluster with Dapr and Istio",
		Long: `Makes a Kubernetes cluster in docker (kind), with Dapr's control plane, Istio's mesh and ingress, Kafka, Redis,
PostgreSQL and the ten services, and takes it away again. See kind/README.md.

  dishmesh cluster up        make it, or bring the one that is there up to date
  dishmesh cluster load      bring changed services into it
  dishmesh cluster add       bring in what it can have beside the platform
  dishmesh cluster status    see every workload
  dishmesh cluster down      remove it and everything that was made for it`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newClusterUp(), newClusterDown(), newClusterStatus(), newClusterLoad(), newClusterAdd())
	return cmd
}

// clusterConfig is what all cluster commands share.
func clusterConfig(data func() (string, error)) (cluster.Config, error) {
	dir, err := data()
	if err != nil {
		return cluster.Config{}, err
	}
	home, err := platform.FindHome()
	if err != nil {
		return cluster.Config{}, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return cluster.Config{}, err
	}
	return cluster.Config{Home: home.Dir, Data: dir, Version: version}, nil
}

func newClusterUp() *cobra.Command {
	var images string
	var httpsPort, httpPort int
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Make the cluster, or bring the one that is there up to date",
		Long: `Makes the cluster and waits until it takes orders. Each step looks at what is there and does what is missing: on a
cluster that is there it takes seconds, picks up changed programs, manifests and values, removes what left the manifests,
and goes on where an earlier run was interrupted.

Images come from the registries, or are built here from Go modules, Debian and Maven where no registry answers; --images
forces one of the two. Where no docker daemon runs and this is root, a private one is started in the data folder.

Ctrl-C takes back a cluster that is half made; once it stands it is left there. Exit codes: 0 it is ready, 1 it is not,
and why is said in a line.`,
		Args: cobra.NoArgs,
	}
	data := addDataFlag(cmd)
	fl := cmd.Flags()
	fl.StringVar(&images, "images", string(cluster.SourceAuto), "where images come from: auto, registry or offline")
	fl.IntVar(&httpsPort, "https-port", 0, "port of the ingress on 127.0.0.1 (default 8443)")
	fl.IntVar(&httpPort, "http-port", 0, "port on 127.0.0.1 that redirects there (default 8080)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := clusterConfig(data)
		if err != nil {
			return err
		}
		if cfg.Images, err = cluster.ParseSource(images); err != nil {
			return usageError("%v", err)
		}
		for flag, port := range map[string]int{"--https-port": httpsPort, "--http-port": httpPort} {
			if port < 0 || port > 65535 {
				return usageError("%s %d is no port: give one from 1 to 65535", flag, port)
			}
		}
		cfg.HTTPSPort, cfg.HTTPPort = httpsPort, httpPort
		return withCluster(cmd, cfg, func(c *cluster.Cluster, start time.Time) error {
			if err := c.Up(cmd.Context()); err != nil {
				return err
			}
			printClusterReady(cmd.OutOrStdout(), cfg, c.URL(), time.Since(start))
			return nil
		})
	}
	return cmd
}

func newClusterLoad() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Bring changed services into the cluster",
		Long: `Builds the services and the tool, makes images of those that changed, loads them into the node, and updates their
workloads one pod after another. What did not change goes on running.`,
		Args: cobra.NoArgs,
	}
	data := addDataFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := clusterConfig(data)
		if err != nil {
			return err
		}
		return withCluster(cmd, cfg, func(c *cluster.Cluster, _ time.Time) error { return c.Load(cmd.Context()) })
	}
	return cmd
}

func newClusterAdd() *cobra.Command {
	long := `Brings into the cluster what parts of k8s/components want to find there, at a pinned version, and waits until it is ready.
Where no registry answers its images are built first, which takes as long as they are large. Without a name it lists what there is:

`
	var names []string
	for _, a := range cluster.Additions() {
		names = append(names, a.Name)
		long += fmt.Sprintf("  %-8s %s\n", a.Name, a.Title)
	}
	cmd := &cobra.Command{
		Use:       "add [NAME]",
		Short:     "Bring in what the cluster can have beside the platform",
		Long:      strings.TrimSpace(long),
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: names,
	}
	data := addDataFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			for _, a := range cluster.Additions() {
				fmt.Fprintf(cmd.OutOrStdout(), "%-8s %s\n", a.Name, a.Title)
			}
			return nil
		}
		a, err := cluster.FindAddition(args[0])
		if err != nil {
			return usageError("%v", err)
		}
		cfg, err := clusterConfig(data)
		if err != nil {
			return err
		}
		return withCluster(cmd, cfg, func(c *cluster.Cluster, start time.Time) error {
			if err := c.Add(cmd.Context(), a); err != nil {
				return err
			}
			file := cluster.NewLayout(cfg.Data).Manifests(a)
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "\n%s\n", newPalette(out).good.Render(fmt.Sprintf("%s is ready after %s.", a.Name, time.Since(start).Round(time.Second))))
			fmt.Fprintf(out, "  %-12s%s\n  %-12s%s\n", "what now", a.Next, "away again", "kubectl delete -f "+file)
			return nil
		})
	}
	return cmd
}

func newClusterDown() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Remove the cluster and everything that was made for it",
		Long: `Removes the node with all its data, the private docker daemon with its images, mounts and network rules, and keys and
certificates. What was built stays in the cache. Exit code 0 also when there is no cluster.`,
		Args: cobra.NoArgs,
	}
	data := addDataFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := clusterConfig(data)
		if err != nil {
			return err
		}
		return withCluster(cmd, cfg, func(c *cluster.Cluster, _ time.Time) error { return c.Down(cmd.Context()) })
	}
	return cmd
}

// withCluster opens the cluster, shows what is done with it, and closes it.
func withCluster(cmd *cobra.Command, cfg cluster.Config, do func(*cluster.Cluster, time.Time) error) error {
	report := newStepReporter(cmd.OutOrStdout())
	defer report.close()
	c, err := cluster.Open(cfg, report)
	if err != nil {
		return err
	}
	defer c.Close()
	err = do(c, report.start)
	report.close()
	if err != nil && !errors.Is(err, cluster.ErrNone) {
		if log := cluster.NewLayout(cfg.Data).Log(); fileExists(log) {
			p := newPalette(cmd.ErrOrStderr())
			fmt.Fprintln(cmd.ErrOrStderr(), p.dim.Render("every command and its output: "+log))
		}
	}
	return err
}

func newClusterStatus() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show every workload of the cluster",
		Long: `Shows where the cluster is and every workload with its ready pods.

JSON keys: exists, ready, url, ca, kubeconfig, images, docker, docker_host, created, memory, problem and
workloads [{namespace, kind, name, want, ready, current}]. Exit codes: 0 everything is ready, 1 something is not, or
there is no cluster.`,
		Args: cobra.NoArgs,
	}
	data := addDataFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := clusterConfig(data)
		if err != nil {
			return err
		}
		s, err := cluster.Look(cmd.Context(), cfg)
		if err != nil {
			return err
		}
		if asJSON {
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			if err := enc.Encode(s); err != nil {
				return err
			}
		}
		switch {
		case !s.Exists && asJSON:
			return &ExitError{Code: ExitFailed}
		case !s.Exists:
			return cluster.ErrNone
		case !asJSON:
			printClusterStatus(cmd.OutOrStdout(), s)
		}
		if !s.Ready {
			return &ExitError{Code: ExitFailed}
		}
		return nil
	}
	return cmd
}

func printClusterStatus(w io.Writer, s cluster.Status) {
	p := newPalette(w)
	if len(s.Workloads) > 0 {
		fmt.Fprintf(w, "%-16s %-12s %-28s %s\n", "NAMESPACE", "KIND", "NAME", "READY")
	}
	ready := 0
	for _, l := range s.Workloads {
		count := fmt.Sprintf("%d/%d", l.Ready, l.Want)
		switch {
		case l.IsReady():
			ready++
			count = p.good.Render(count)
		case !l.Current:
			count = p.bad.Render(count) + "  updating"
		default:
			count = p.bad.Render(count)
		}
		fmt.Fprintf(w, "%-16s %-12s %-28s %s\n", l.Namespace, l.Kind, l.Name, count)
	}
	fmt.Fprintln(w)
	if s.Problem != "" {
		fmt.Fprintln(w, p.bad.Render(s.Problem))
	} else {
		fmt.Fprintf(w, "%d of %d ready, %s in all, made %s ago, images %s, docker %s\n", ready, len(s.Workloads), s.Memory,
			time.Since(s.Created).Round(time.Minute), s.Images, s.Docker)
	}
	fmt.Fprintf(w, "address %s   kubeconfig %s\n", s.URL, s.Kubeconfig)
}

func printClusterReady(w io.Writer, cfg cluster.Config, url string, took time.Duration) {
	p := newPalette(w)
	self, files := selfCommand(), cluster.NewLayout(cfg.Data)
	data := ""
	if cfg.Data != filepath.Join(cfg.Home, platform.DefaultData) {
		data = " --data " + cfg.Data
	}
	fmt.Fprintf(w, "\n%s\n", p.good.Render(fmt.Sprintf("The cluster is ready after %s.", took.Round(time.Second))))
	fmt.Fprintf(w, "  address     %s\n", p.bold.Render(url))
	fmt.Fprintf(w, "  authority   %s\n", files.CA())
	fmt.Fprintf(w, "  kubeconfig  %s\n", files.Kubeconfig())
	fmt.Fprintf(w, "\nThree things to try:\n")
	fmt.Fprintf(w, "  %s order --url %s --ca %s    place an order and follow it\n", self, url, files.CA())
	fmt.Fprintf(w, "  %s cluster status%s    see every workload\n", self, data)
	fmt.Fprintf(w, "  KUBECONFIG=%s kubectl -n %s get pods    look inside\n", files.Kubeconfig(), cluster.NamespaceServices)
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
