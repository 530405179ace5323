package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// step is one thing that is done on the way up. It looks at what is there and does what is missing, so that all of them
// can run on a cluster in any state; did is what it did, empty for nothing.
type step struct {
	name, title string
	do          func(*Cluster, context.Context) (did string, err error)
	// undo tells that what this run made is taken away when this step fails or is interrupted. Later failures leave the
	// cluster there to look at, and the next run goes on with it.
	undo bool
}

// steps is the way from a bare machine to a platform that takes orders.
func steps() []step {
	return []step{
		{"needs", "looking at this machine", (*Cluster).stepNeeds, true},
		{"docker", "looking for docker", (*Cluster).stepDocker, true},
		{"images", "choosing where images come from", (*Cluster).stepSource, true},
		{"offline", "building images without a registry", (*Cluster).stepOffline, true},
		{"tools", "finding kind, kubectl and helm", (*Cluster).stepTools, true},
		{"manifests", "checking the manifests", (*Cluster).stepManifests, true},
		{"charts", "checking the charts", (*Cluster).stepCharts, true},
		{"build", "building the services' images", (*Cluster).stepBuild, true},
		{"node", "making the cluster", (*Cluster).stepNode, true},
		{"versions", "comparing what is installed", (*Cluster).stepVersions, false},
		{"load", "loading images into the node", (*Cluster).stepLoad, false},
		{"secrets", "making certificates and secrets", (*Cluster).stepSecrets, false},
		{"stores", "starting the broker and the stores", (*Cluster).stepStores, false},
		{"mesh", "installing Dapr and Istio", (*Cluster).stepControlPlanes, false},
		// Before the services: an Envoy whose clusters are taken away while it starts may wait for them for ever.
		{"rules", "telling the mesh its rules", (*Cluster).stepMesh, false},
		{"ingress", "installing the ingress", (*Cluster).stepIngress, false},
		{"services", "starting the services", (*Cluster).stepServices, false},
		// Before the wait: what is wanted no more may never get ready.
		{"prune", "removing what left the manifests", (*Cluster).stepPrune, false},
		{"ready", "waiting until all is ready", (*Cluster).stepReady, false},
	}
}

// loadSteps bring changed programs into a cluster that runs.
func loadSteps() []step {
	return []step{
		{"docker", "looking for docker", (*Cluster).stepDocker, false},
		{"images", "choosing where images come from", (*Cluster).stepSource, false},
		{"tools", "finding kind, kubectl and helm", (*Cluster).stepTools, false},
		{"manifests", "checking the manifests", (*Cluster).stepManifests, false},
		{"build", "building the services' images", (*Cluster).stepBuild, false},
		{"load", "loading images into the node", (*Cluster).stepLoad, false},
		{"services", "updating the services", (*Cluster).stepServices, false},
		{"ready", "waiting until all is ready", (*Cluster).stepReady, false},
	}
}

// StepError says which step failed.
type StepError struct {
	Step string
	Err  error
	// Kept tells that the cluster was left as it is.
	Kept bool
}

// Error implements error.
func (e *StepError) Error() string {
	if e.Kept {
		return fmt.Sprintf("%s: %v; what is there was kept: `dishmesh cluster up` goes on with it, `dishmesh cluster down` removes it", e.Step, e.Err)
	}
	return fmt.Sprintf("%s: %v", e.Step, e.Err)
}

// Unwrap gives the cause.
func (e *StepError) Unwrap() error { return e.Err }

// Up makes the cluster, or brings the one that is there to what the checkout says.
func (c *Cluster) Up(ctx context.Context) error { return c.walk(ctx, steps()) }

// Load brings changed programs into the cluster and waits until they run.
func (c *Cluster) Load(ctx context.Context) error {
	if c.state.Created.IsZero() {
		return ErrNone
	}
	return c.walk(ctx, loadSteps())
}

// walk takes the steps in turn.
func (c *Cluster) walk(ctx context.Context, steps []step) error {
	for _, s := range steps {
		start := time.Now()
		c.report.Begin(s.name, s.title)
		did, err := s.do(c, ctx)
		if err == nil {
			c.report.End(s.name, did, time.Since(start))
			continue
		}
		if ctx.Err() != nil {
			err = errInterrupted
		}
		if !s.undo {
			return &StepError{Step: s.name, Err: err, Kept: true}
		}
		return &StepError{Step: s.name, Err: errors.Join(err, c.takeBack(context.WithoutCancel(ctx)))}
	}
	return nil
}

var errInterrupted = errors.New("interrupted")

// takeBack removes what this run made before it failed, so that nothing is left running.
func (c *Cluster) takeBack(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if c.startedNode {
		c.report.Progress("taking back the half-made cluster")
		if err := c.deleteNode(ctx); err != nil {
			return err
		}
	}
	if c.startedDocker {
		c.report.Progress("stopping the private docker daemon")
		return c.removeDaemon(ctx)
	}
	return nil
}

// now is the time of this machine.
func (c *Cluster) now() time.Time { return time.Now() }
