package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// fieldManager is by which Kubernetes knows what this tool applied. What left the manifests is found by it, and never by a
// label, which anybody can write.
const fieldManager = "dishmesh"

// canaryLabel is on what stands in for a service for a while: it is applied by hand (mesh/README.md), and taken back so.
const canaryLabel = "dishmesh/canary"

// pruned are the kinds of which what left the manifests is removed, as kubectl calls them. Any other kind stays: what holds data
// (kept), what isn't made from manifests (Secrets), what controllers make (Pods).
func pruned() []string {
	return []string{
		"apiservices.apiregistration.k8s.io", "authorizationpolicies.security.istio.io", "clusterrolebindings.rbac.authorization.k8s.io",
		"clusterroles.rbac.authorization.k8s.io", "components.dapr.io", "configmaps", "configurations.dapr.io", "deployments.apps",
		"destinationrules.networking.istio.io", "envoyfilters.networking.istio.io", "gateways.networking.istio.io",
		"horizontalpodautoscalers.autoscaling", "httpendpoints.dapr.io", "networkpolicies.networking.k8s.io",
		"peerauthentications.security.istio.io", "poddisruptionbudgets.policy", "requestauthentications.security.istio.io",
		"resiliencies.dapr.io", "rolebindings.rbac.authorization.k8s.io", "serviceaccounts", "serviceentries.networking.istio.io",
		"services", "sidecars.networking.istio.io", "subscriptions.dapr.io", "telemetries.telemetry.istio.io",
		"validatingadmissionpolicies.admissionregistration.k8s.io", "validatingadmissionpolicybindings.admissionregistration.k8s.io",
		"virtualservices.networking.istio.io",
	}
}

// kept are the kinds that hold data, or that data go with: they are named, and left to whoever knows that nobody needs it.
func kept() []string {
	return []string{"namespaces", "persistentvolumeclaims", "persistentvolumes", "statefulsets.apps", "storageclasses.storage.k8s.io"}
}

// thing is a resource as far as pruning must know it.
type thing struct {
	APIVersion string
	Kind       string
	Metadata   struct {
		Name, Namespace   string
		Labels            map[string]string
		Annotations       map[string]string
		OwnerReferences   []json.RawMessage
		DeletionTimestamp string
		ManagedFields     []struct{ Manager, Operation string }
	}
}

// group of its API, empty for Kubernetes' first one.
func (t thing) group() string {
	group, _, found := strings.Cut(t.APIVersion, "/")
	if !found {
		return ""
	}
	return group
}

// key names a resource whatever version of its group it is read in.
func (t thing) key() string {
	namespace := t.Metadata.Namespace
	if namespace == "default" { // where a manifest names none
		namespace = ""
	}
	return strings.Join([]string{t.Kind, t.group(), namespace, t.Metadata.Name}, "/")
}

func (t thing) String() string {
	if t.Metadata.Namespace == "" {
		return t.Kind + " " + t.Metadata.Name
	}
	return t.Kind + " " + t.Metadata.Namespace + "/" + t.Metadata.Name
}

// ours tells whether this tool applied the resource, and nobody else has to do with whether it is there.
func (t thing) ours() bool {
	applied := false
	for _, m := range t.Metadata.ManagedFields {
		switch {
		case m.Manager == fieldManager && m.Operation == "Apply":
			applied = true
		case m.Operation == "Apply", strings.EqualFold(m.Manager, "helm"), m.Manager == "kubectl-client-side-apply":
			return false
		}
	}
	_, canary := t.Metadata.Labels[canaryLabel]
	_, released := t.Metadata.Annotations["meta.helm.sh/release-name"]
	_, byHand := t.Metadata.Annotations["kubectl.kubernetes.io/last-applied-configuration"]
	return applied && !canary && !released && !byHand && t.Metadata.Labels["app.kubernetes.io/managed-by"] != "Helm" &&
		len(t.Metadata.OwnerReferences) == 0 && t.Metadata.DeletionTimestamp == ""
}

// stepPrune removes what this tool applied once and the manifests no longer have. kubectl's own ways don't fit: --prune with a
// list of kinds doesn't know what was applied server-side, and an ApplySet can't have a resource in two folders, as those of
// overlayData are in overlayKind, or leave out the kinds that hold data.
func (c *Cluster) stepPrune(ctx context.Context) (string, error) {
	wanted, err := c.wanted()
	if err != nil {
		return "", err
	}
	out, err := c.kubectl(ctx, "get", strings.Join(slices.Concat(pruned(), kept()), ","), "--all-namespaces", "--show-managed-fields", "--output", "json")
	if err != nil {
		return "", fmt.Errorf("look for what left the manifests: %w", err)
	}
	var there struct{ Items []thing }
	if err := json.Unmarshal(out, &there); err != nil {
		return "", fmt.Errorf("read what is in the cluster: %w", err)
	}
	var did, left []string
	for _, t := range there.Items {
		if wanted[t.key()] || !t.ours() {
			continue
		}
		kind, ok := t.resource(pruned())
		if !ok {
			left = append(left, t.String())
			continue
		}
		c.report.Progress(t.String())
		args := []string{"delete", kind, t.Metadata.Name, "--ignore-not-found", "--wait=false"}
		if t.Metadata.Namespace != "" {
			args = append(args, "--namespace", t.Metadata.Namespace)
		}
		if _, err := c.kubectl(ctx, args...); err != nil {
			return "", fmt.Errorf("remove %s, which is no longer in the manifests: %w", t, err)
		}
		did = append(did, t.String())
	}
	if len(left) > 0 {
		c.report.Note("no longer in the manifests, and kept, because data are in it: " + strings.Join(left, ", ") + "; if nobody needs them, `kubectl delete` it")
	}
	return strings.Join(did, ", "), nil
}

// resource finds how kubectl calls the kind, among those given.
func (t thing) resource(among []string) (string, bool) {
	kind := strings.ToLower(t.Kind)
	for _, r := range among {
		name, of, _ := strings.Cut(r, ".")
		if of == t.group() && slices.Contains([]string{kind + "s", kind + "es", strings.TrimSuffix(kind, "y") + "ies"}, name) {
			return r, true
		}
	}
	return "", false
}

// wanted are the resources of all manifests, by their keys. A folder that has nothing is a mistake, not a wish to remove all.
func (c *Cluster) wanted() (map[string]bool, error) {
	wanted := map[string]bool{}
	for _, folder := range manifestFolders() {
		found := 0
		for _, doc := range bytes.Split(c.overlays[folder], []byte("\n---\n")) {
			var t thing
			if err := yaml.Unmarshal(doc, &t); err != nil {
				return nil, fmt.Errorf("%s: read what kustomize wrote: %w", folder, err)
			}
			if t.Kind == "" {
				continue
			}
			found++
			wanted[t.key()] = true
			// kustomize gives a namespace to kinds that it doesn't know to be the whole cluster's; the cluster gives it to none of them.
			t.Metadata.Namespace = ""
			wanted[t.key()] = true
		}
		if found == 0 {
			return nil, errors.New(folder + " has no resources, and nothing is removed because of that: compare the folder with git")
		}
	}
	return wanted, nil
}
