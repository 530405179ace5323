package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// readyPatience is how long all workloads together may take: with a registry they are pulled meanwhile.
const readyPatience = 12 * time.Minute

// hopeless is how long a pod may be in a state that seldom mends itself.
const hopeless = 45 * time.Second

// Workload is a Deployment, StatefulSet or DaemonSet and how far it is.
type Workload struct {
	Namespace string `json:"namespace"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Want      int    `json:"want"`
	Ready     int    `json:"ready"`
	// Current is false while pods of an older version still run.
	Current bool `json:"current"`
	// Problem is why no pod can be made for it, such as a policy that refuses it.
	Problem string `json:"problem,omitempty"`

	// revision names the newest version of a StatefulSet's pods.
	revision string
}

// IsReady reports whether as many pods as wanted are there, all of the newest version.
func (w Workload) IsReady() bool { return w.Current && w.Ready >= w.Want }

// parseWorkloads reads `kubectl get deployments,statefulsets,daemonsets -o json`.
func parseWorkloads(out []byte) ([]Workload, error) {
	var list struct {
		Items []struct {
			Kind     string
			Metadata struct {
				Name, Namespace string
				Generation      int
			}
			Spec   struct{ Replicas *int }
			Status struct {
				ObservedGeneration, UpdatedReplicas, AvailableReplicas, Replicas               int
				DesiredNumberScheduled, UpdatedNumberScheduled, NumberAvailable, ReadyReplicas int
				CurrentRevision, UpdateRevision                                                string
				Conditions                                                                     []struct{ Type, Status, Message string }
			}
		}
	}
	if err := json.Unmarshal(out, &list); err != nil {
		return nil, fmt.Errorf("read the workloads: %w", err)
	}
	var all []Workload
	for _, i := range list.Items {
		s := i.Status
		w := Workload{Namespace: i.Metadata.Namespace, Kind: i.Kind, Name: i.Metadata.Name, Want: 1}
		if i.Spec.Replicas != nil {
			w.Want = *i.Spec.Replicas
		}
		for _, cond := range s.Conditions {
			if cond.Type == "ReplicaFailure" && cond.Status == "True" {
				w.Problem = cond.Message
			}
		}
		seen := s.ObservedGeneration >= i.Metadata.Generation
		switch i.Kind {
		case "DaemonSet":
			w.Want, w.Ready = s.DesiredNumberScheduled, s.NumberAvailable
			w.Current = seen && s.UpdatedNumberScheduled >= w.Want
		case "StatefulSet":
			w.Ready, w.revision = s.ReadyReplicas, s.UpdateRevision
			w.Current = seen && (s.UpdatedReplicas >= w.Want || s.CurrentRevision == s.UpdateRevision)
		default:
			w.Ready = s.AvailableReplicas
			w.Current = seen && s.UpdatedReplicas >= w.Want && s.Replicas <= s.UpdatedReplicas
		}
		all = append(all, w)
	}
	return all, nil
}

// trouble is a pod that will hardly become ready by itself.
type trouble struct{ pod, container, reason, message, revision string }

// parseTrouble finds such pods in `kubectl get pods -o json`.
func parseTrouble(out []byte) ([]trouble, error) {
	type status struct {
		Name         string
		RestartCount int
		State        struct {
			Waiting *struct{ Reason, Message string }
		}
		LastState struct {
			Terminated *struct {
				Reason, Message string
				ExitCode        int
			}
		}
	}
	var list struct {
		Items []struct {
			Metadata struct {
				Name, Namespace string
				Labels          map[string]string
			}
			Status struct {
				InitContainerStatuses, ContainerStatuses []status
				Conditions                               []struct{ Type, Status, Reason, Message string }
			}
		}
	}
	if err := json.Unmarshal(out, &list); err != nil {
		return nil, fmt.Errorf("read the pods: %w", err)
	}
	var all []trouble
	for _, p := range list.Items {
		name, revision := p.Metadata.Namespace+"/"+p.Metadata.Name, p.Metadata.Labels["controller-revision-hash"]
		for _, cond := range p.Status.Conditions {
			if cond.Type == "PodScheduled" && cond.Status == "False" && cond.Reason == "Unschedulable" {
				all = append(all, trouble{pod: name, reason: "Unschedulable", message: cond.Message})
			}
		}
		for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
			w := s.State.Waiting
			if w == nil {
				continue
			}
			switch w.Reason {
			case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError":
				all = append(all, trouble{name, s.Name, w.Reason, w.Message, revision})
			case "CrashLoopBackOff":
				if s.RestartCount >= 4 {
					t := trouble{pod: name, container: s.Name, reason: w.Reason, revision: revision}
					if end := s.LastState.Terminated; end != nil {
						t.message = strings.TrimSpace(fmt.Sprintf("it ended with %d %s %s", end.ExitCode, end.Reason, end.Message))
					}
					all = append(all, t)
				}
			}
		}
	}
	return all, nil
}

// stepReady waits until everything of the platform is ready.
func (c *Cluster) stepReady(ctx context.Context) (string, error) {
	if err := c.hurry(ctx); err != nil {
		return "", err
	}
	if err := c.waitReady(ctx, namespaceDapr, namespaceIstio, NamespaceIngress, NamespaceData, NamespaceServices, NamespaceCity); err != nil {
		return "", err
	}
	if err := c.waitIngress(ctx); err != nil {
		return "", err
	}
	if c.state.Complete.IsZero() {
		c.state.Complete = c.now()
		return "", c.save()
	}
	return "", nil
}

// hurry removes the platform's pods that an earlier run left crashing: what they lacked is there now, and the kubelet would
// try again only minutes later.
func (c *Cluster) hurry(ctx context.Context) error {
	out, err := c.kubectl(ctx, "get", "pods", "--namespace", NamespaceServices, "-o", "json")
	if err != nil {
		return err
	}
	all, err := parseTrouble(out)
	if err != nil {
		return err
	}
	var pods []string
	for _, t := range all {
		if _, pod, _ := strings.Cut(t.pod, "/"); t.reason == "CrashLoopBackOff" && !slices.Contains(pods, pod) {
			pods = append(pods, pod)
		}
	}
	if len(pods) == 0 {
		return nil
	}
	_, err = c.kubectl(ctx, slices.Concat([]string{"delete", "pods", "--namespace", NamespaceServices, "--wait=false", "--ignore-not-found"}, pods)...)
	return err
}

// waitReady waits for the workloads of some namespaces, shows how far they are, and gives up early where waiting is vain.
func (c *Cluster) waitReady(ctx context.Context, namespaces ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyPatience, fmt.Errorf("not ready after %s", readyPatience))
	defer cancel()
	since := map[string]time.Time{}
	progress := ""
	var revisions []string
	for {
		out, err := c.kubectl(ctx, "get", "deployments,statefulsets,daemonsets", "--all-namespaces", "-o", "json")
		if err == nil {
			all, err := parseWorkloads(out)
			if err != nil {
				return err
			}
			all = slices.DeleteFunc(all, func(w Workload) bool { return !slices.Contains(namespaces, w.Namespace) })
			revisions = revisions[:0]
			for _, w := range all {
				revisions = append(revisions, w.revision)
				if err := c.lasts(since, w.Namespace+"/"+w.Name, w.Problem); err != nil {
					return err
				}
			}
			waiting := slices.DeleteFunc(slices.Clone(all), Workload.IsReady)
			if len(all) > 0 && len(waiting) == 0 {
				return nil
			}
			progress = describe(all, waiting)
			c.report.Progress(progress)
		} else if ctx.Err() != nil {
			return fmt.Errorf("%w: %s", err, progress)
		}
		if err := c.checkTrouble(ctx, namespaces, revisions, since); err != nil {
			return err
		}
		if err := pause(ctx, time.Second); err != nil {
			return fmt.Errorf("%w: %s", err, progress)
		}
	}
}

// checkTrouble fails for a pod that has been in trouble for long. One of an older version of a StatefulSet is removed: its
// controller replaces pods that are ready and waits for others for ever
// (https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback).
func (c *Cluster) checkTrouble(ctx context.Context, namespaces, revisions []string, since map[string]time.Time) error {
	out, err := c.kubectl(ctx, "get", "pods", "--all-namespaces", "-o", "json")
	if err != nil {
		return nil // an API server that is busy is asked again
	}
	all, err := parseTrouble(out)
	if err != nil {
		return err
	}
	now, still := c.now(), map[string]bool{}
	for _, t := range all {
		namespace, pod, _ := strings.Cut(t.pod, "/")
		if !slices.Contains(namespaces, namespace) {
			continue
		}
		if t.revision != "" && !slices.Contains(revisions, t.revision) {
			if _, err := c.kubectl(ctx, "delete", "pod", pod, "--namespace", namespace, "--wait=false", "--ignore-not-found"); err != nil {
				return err
			}
			continue
		}
		key := t.pod + " " + t.container
		still[key] = true
		if since[key].IsZero() {
			since[key] = now
		}
		if now.Sub(since[key]) >= hopeless {
			look := "kubectl logs"
			if t.reason != "CrashLoopBackOff" {
				look = "kubectl describe pod"
			}
			return fmt.Errorf("%s: %s %s (look with `KUBECONFIG=%s %s -n %s %s`)", strings.TrimSpace(key), t.reason, t.message, c.files.Kubeconfig(), look, namespace, pod)
		}
	}
	for key := range since {
		if !still[key] && !strings.HasPrefix(key, workloadKey) {
			delete(since, key)
		}
	}
	return nil
}

// lasts fails for a workload whose problem has been there for long.
func (c *Cluster) lasts(since map[string]time.Time, name, problem string) error {
	key := workloadKey + name
	switch now := c.now(); {
	case problem == "":
		delete(since, key)
	case since[key].IsZero():
		since[key] = now
	case now.Sub(since[key]) >= hopeless:
		return fmt.Errorf("%s: %s", name, problem)
	}
	return nil
}

// workloadKey sets workloads apart from pods among what is watched.
const workloadKey = "workload "

// describe is how far a number of workloads is, in one line.
func describe(all, waiting []Workload) string {
	var names []string
	for _, w := range waiting {
		if len(names) == 4 {
			names = append(names, "…")
			break
		}
		names = append(names, fmt.Sprintf("%s %d/%d", w.Name, w.Ready, w.Want))
	}
	return fmt.Sprintf("%d of %d ready; waiting for %s", len(all)-len(waiting), len(all), strings.Join(names, ", "))
}
