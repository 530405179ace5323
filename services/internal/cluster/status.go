package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Status is what there is of a cluster. The JSON keys are stable.
type Status struct {
	// Exists is false where no cluster was made, or nothing is left of it.
	Exists bool `json:"exists"`
	// Ready is true when every workload is.
	Ready bool `json:"ready"`
	// URL is the platform's address, CA the file with the authority that its certificate is signed by.
	URL        string `json:"url,omitempty"`
	CA         string `json:"ca,omitempty"`
	Kubeconfig string `json:"kubeconfig,omitempty"`
	// Images is where images come from: registry or offline.
	Images Source `json:"images,omitempty"`
	// Docker is "private" where the cluster has a docker daemon of its own, else "host".
	Docker     string     `json:"docker,omitempty"`
	DockerHost string     `json:"docker_host,omitempty"`
	Created    time.Time  `json:"created,omitzero"`
	Memory     string     `json:"memory,omitempty"`
	Workloads  []Workload `json:"workloads"`
	// Problem says why there is no more to be known.
	Problem string `json:"problem,omitempty"`
}

// Look finds out how the cluster of a data folder is. It changes nothing and waits for nobody.
func Look(ctx context.Context, cfg Config) (Status, error) {
	c, err := look(cfg, nil)
	if err != nil {
		return Status{}, err
	}
	s := Status{Workloads: []Workload{}}
	if c.state.Created.IsZero() {
		return s, nil
	}
	s = Status{Exists: true, URL: c.URL(), CA: c.files.CA(), Kubeconfig: c.files.Kubeconfig(), Images: c.state.Images, Docker: "host",
		DockerHost: c.state.DockerHost, Created: c.state.Created, Workloads: s.Workloads}
	if c.private() {
		s.Docker = "private"
	}
	c.source = c.state.Images
	c.useBuilt(ctx)
	out, err := c.docker(ctx, "stats", "--no-stream", "--format", "{{.MemUsage}}", nodeName)
	if err != nil {
		s.Problem = fmt.Sprintf("the node does not run: `dishmesh cluster up` starts it again (%v)", err)
		return s, nil
	}
	s.Memory, _, _ = strings.Cut(strings.TrimSpace(string(out)), " ")
	out, err = c.kubectl(ctx, "get", "deployments,statefulsets,daemonsets", "--all-namespaces", "-o", "json", "--request-timeout", "10s")
	if err != nil {
		s.Problem = fmt.Sprintf("the API server does not answer: %v", err)
		return s, nil
	}
	if s.Workloads, err = parseWorkloads(out); err != nil {
		return s, err
	}
	slices.SortFunc(s.Workloads, func(a, b Workload) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	s.Ready = !slices.ContainsFunc(s.Workloads, func(w Workload) bool { return !w.IsReady() })
	return s, nil
}
