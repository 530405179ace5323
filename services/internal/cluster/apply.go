package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/dishmesh/dishmesh/services/internal/cluster/tool"
	"github.com/dishmesh/dishmesh/services/internal/profile"
)

// imageAnnotation of a pod template names the content of our images in it. A changed program is a changed template, so
// applying it is a rolling update; and where an update was interrupted, the next run goes on with it.
const imageAnnotation = "dishmesh.dev/images"

// manifestFolders are what kustomize builds, in no order.
func manifestFolders() []string {
	return []string{kindManifests, namespaces, overlayData, overlayKind, meshFolder}
}

// stepManifests builds every overlay and checks the Dapr resources before anything is made, so that a broken one is found
// here and not half way.
func (c *Cluster) stepManifests(ctx context.Context) (string, error) {
	c.overlays = map[string][]byte{}
	var wrong []error
	for _, folder := range manifestFolders() {
		out, err := c.kubectl(ctx, "kustomize", filepath.Join(c.cfg.Home, folder))
		if err != nil {
			if ctx.Err() != nil {
				return "", err
			}
			wrong = append(wrong, fmt.Errorf("%s does not build: %w", folder, err))
			continue
		}
		c.overlays[folder] = out
	}
	p, err := profile.Load(filepath.Join(c.cfg.Home, "components"), "cluster")
	if err != nil {
		return "", errors.Join(append(wrong, err)...)
	}
	return "", errors.Join(append(wrong, profile.Check(p.Resources)...)...)
}

// apply makes the cluster have what manifests say, in somebody's name, and takes over what somebody else changed by hand.
func (c *Cluster) apply(ctx context.Context, manager string, manifests []byte) error {
	_, err := c.run.Run(ctx, tool.Command{Name: "kubectl", Stdin: bytes.NewReader(manifests),
		Args: []string{"apply", "--server-side", "--force-conflicts", "--field-manager=" + manager, "-f", "-"}})
	return err
}

// pinImages writes the content of our images into every pod template that runs one. daprd counts for every template that
// has it injected.
func pinImages(manifests []byte, content map[string]string) ([]byte, error) {
	var out bytes.Buffer
	for _, doc := range bytes.Split(manifests, []byte("\n---\n")) {
		var object map[string]any
		if err := yaml.Unmarshal(doc, &object); err != nil {
			return nil, fmt.Errorf("read what kustomize wrote: %w", err)
		}
		if len(object) == 0 {
			continue
		}
		if err := pinObject(object, content); err != nil {
			return nil, err
		}
		b, err := json.Marshal(object)
		if err != nil {
			return nil, err
		}
		out.Write(b)
		out.WriteString("\n---\n")
	}
	return out.Bytes(), nil
}

func pinObject(object map[string]any, content map[string]string) error {
	switch object["kind"] {
	case "Deployment", "StatefulSet", "DaemonSet":
	default:
		return nil
	}
	b, err := json.Marshal(object)
	if err != nil {
		return err
	}
	var workload struct {
		Spec struct {
			Template struct {
				Metadata struct{ Annotations map[string]string }
				Spec     struct {
					Containers []struct{ Image string }
				}
			}
		}
	}
	if err := json.Unmarshal(b, &workload); err != nil {
		return fmt.Errorf("read a %v: %w", object["kind"], err)
	}
	template := workload.Spec.Template
	var pins []string
	pin := func(ref string) {
		if sum, ours := content[ref]; ours {
			if entry := strings.TrimPrefix(ref, "dishmesh/") + "@" + sum; !strings.Contains(strings.Join(pins, " "), entry) {
				pins = append(pins, entry)
			}
		}
	}
	// A changed init container is no reason to start a store anew.
	for _, container := range template.Spec.Containers {
		pin(container.Image)
	}
	if template.Metadata.Annotations["dapr.io/enabled"] == "true" {
		pin("dishmesh/daprd:" + DaprVersion)
	}
	if len(pins) == 0 {
		return nil
	}
	spec := object["spec"].(map[string]any) // as the struct above has just read it
	meta, ok := spec["template"].(map[string]any)["metadata"].(map[string]any)
	if !ok {
		meta = map[string]any{}
		spec["template"].(map[string]any)["metadata"] = meta
	}
	annotations, ok := meta["annotations"].(map[string]any)
	if !ok {
		annotations = map[string]any{}
		meta["annotations"] = annotations
	}
	annotations[imageAnnotation] = strings.Join(pins, " ")
	return nil
}

// stepStores applies the stores and the broker first: they take longest to start, and the services wait for them.
func (c *Cluster) stepStores(ctx context.Context) (string, error) {
	return "", c.applyOverlay(ctx, overlayData)
}

// stepServices applies everything of the platform, once the stores are there: a sidecar that doesn't find its store ends, and
// is started again after longer and longer pauses.
func (c *Cluster) stepServices(ctx context.Context) (string, error) {
	if err := c.waitReady(ctx, NamespaceData); err != nil {
		return "", err
	}
	return "", c.applyOverlay(ctx, overlayKind)
}

// stepMesh applies what the mesh is told, before there is anything in it: no proxy ever runs without its rules, and none
// is told others while it starts.
func (c *Cluster) stepMesh(ctx context.Context) (string, error) {
	return "", c.applyOverlay(ctx, meshFolder)
}

func (c *Cluster) applyOverlay(ctx context.Context, folder string) error {
	pinned, err := pinImages(c.overlays[folder], c.content)
	if err != nil {
		return fmt.Errorf("%s: %w", folder, err)
	}
	if err := c.apply(ctx, fieldManager, pinned); err != nil {
		return fmt.Errorf("apply %s: %w", folder, err)
	}
	return nil
}
