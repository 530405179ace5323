package manifest

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// Workload is something that makes pods.
type Workload struct {
	Document
	Template corev1.PodTemplateSpec
}

// Workloads are all that make pods, whatever their kind.
func Workloads(objects []Object) []Workload {
	var out []Workload
	for _, o := range objects {
		switch w := o.Decoded.(type) {
		case *appsv1.Deployment:
			out = append(out, Workload{o.Document, w.Spec.Template})
		case *appsv1.StatefulSet:
			out = append(out, Workload{o.Document, w.Spec.Template})
		case *appsv1.DaemonSet:
			out = append(out, Workload{o.Document, w.Spec.Template})
		case *batchv1.Job:
			out = append(out, Workload{o.Document, w.Spec.Template})
		case *batchv1.CronJob:
			out = append(out, Workload{o.Document, w.Spec.JobTemplate.Spec.Template})
		}
	}
	return out
}

func (w Workload) containers() []corev1.Container {
	return slices.Concat(w.Template.Spec.InitContainers, w.Template.Spec.Containers)
}

// Images holds that every image is named by digest or by a tag that is kept, so that what was tested is what runs.
func Images(objects []Object) []string {
	var out []string
	for _, w := range Workloads(objects) {
		images := map[string]string{}
		for _, c := range w.containers() {
			images["container "+c.Name] = c.Image
		}
		if image, ok := w.Template.Annotations["dapr.io/sidecar-image"]; ok {
			images["dapr.io/sidecar-image"] = image
		}
		for _, where := range slices.Sorted(maps.Keys(images)) {
			if what := unpinned(images[where]); what != "" {
				out = append(out, fmt.Sprintf("%s%s: %s", w.At("spec.template"), where, what))
			}
		}
	}
	return out
}

// unpinned says what is wrong with the name of an image.
func unpinned(image string) string {
	name, digest, ok := strings.Cut(image, "@")
	if ok && strings.HasPrefix(digest, "sha256:") {
		return ""
	}
	_, tag, _ := strings.Cut(name[strings.LastIndex(name, "/")+1:], ":")
	switch tag {
	case "":
		return fmt.Sprintf("the image %q has no tag: name a version or a digest", image)
	case "latest":
		return fmt.Sprintf("the image %q is another one tomorrow: name a version or a digest", image)
	}
	return ""
}

// Restricted holds that pods need nothing that the pod security standard "restricted" of this Kubernetes refuses, that
// no container can write to its image, and that each says what it needs. exempt names init containers that prepare a
// volume and may be root for that, as "namespace/workload/container".
func Restricted(objects []Object, exempt ...string) []string {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return []string{err.Error()}
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	var out []string
	for _, w := range Workloads(objects) {
		spec := w.Template.Spec.DeepCopy()
		spec.InitContainers = slices.DeleteFunc(spec.InitContainers, func(c corev1.Container) bool {
			return slices.Contains(exempt, w.Namespace+"/"+w.Name+"/"+c.Name)
		})
		for _, result := range evaluator.EvaluatePod(level, &w.Template.ObjectMeta, spec) {
			if !result.Allowed {
				out = append(out, fmt.Sprintf("%s%s: %s", w.At("spec.template.spec"), result.ForbiddenReason, result.ForbiddenDetail))
			}
		}
		for _, c := range w.containers() {
			at := w.At("spec.template.spec") + "container " + c.Name + ": "
			if c.SecurityContext == nil || c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
				out = append(out, at+"it can write to its image: set readOnlyRootFilesystem: true")
			}
			if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
				out = append(out, at+"it must request processor and memory, and have a limit of memory")
			}
		}
	}
	return out
}

var secretName = regexp.MustCompile(`(?i)(PASSWORD|PASSWD|TOKEN|SECRET|API_KEY|PRIVATE_KEY|CREDENTIAL)S?$`)

// Secrets holds that what is secret stands in no manifest: neither as a Secret with content, nor as the value of a
// variable. Who looks at the repository must learn nothing.
func Secrets(objects []Object) []string {
	var out []string
	for _, s := range All[*corev1.Secret](objects) {
		if len(s.Of.Data)+len(s.Of.StringData) > 0 {
			out = append(out, s.At("data")+"its content is for everybody to read: make it outside of the repository, refer to it by name")
		}
	}
	for _, w := range Workloads(objects) {
		for _, c := range w.containers() {
			for _, e := range c.Env {
				if e.Value != "" && secretName.MatchString(e.Name) {
					out = append(out, fmt.Sprintf("%scontainer %s: the value of %s is for everybody to read: take it from a secret", w.At("spec.template.spec"), c.Name, e.Name))
				}
			}
		}
		for _, pair := range splitPairs(w.Template.Annotations["dapr.io/env"]) {
			if name, _, _ := strings.Cut(pair, "="); secretName.MatchString(name) {
				out = append(out, fmt.Sprintf("%sdapr.io/env: the value of %s is for everybody to read: use dapr.io/env-from-secret", w.At("spec.template.metadata"), name))
			}
		}
	}
	return out
}

func splitPairs(list string) []string {
	return slices.DeleteFunc(strings.Split(list, ","), func(s string) bool { return strings.TrimSpace(s) == "" })
}

// Probes holds that every server is asked whether it is ready, that being alive is another question than being ready (a
// store that is away must not have its clients killed), and that the ports asked exist. A volume of a pod that is named
// must be there, too.
func Probes(objects []Object) []string {
	var out []string
	for _, w := range Workloads(objects) {
		if w.Kind == "Job" || w.Kind == "CronJob" {
			continue
		}
		for _, c := range w.Template.Spec.Containers {
			at := w.At("spec.template.spec") + "container " + c.Name + ": "
			if len(c.Ports) == 0 {
				continue
			}
			if c.ReadinessProbe == nil {
				out = append(out, at+"it serves a port, and nobody asks whether it is ready: add a readinessProbe")
			}
			if c.ReadinessProbe != nil && c.LivenessProbe != nil && c.LivenessProbe.HTTPGet != nil && c.ReadinessProbe.HTTPGet != nil &&
				c.LivenessProbe.HTTPGet.Path == c.ReadinessProbe.HTTPGet.Path && c.LivenessProbe.FailureThreshold <= c.ReadinessProbe.FailureThreshold {
				out = append(out, at+"it is killed when it is only not ready: livenessProbe must ask something else, or be more patient")
			}
			for what, probe := range map[string]*corev1.Probe{"readinessProbe": c.ReadinessProbe, "livenessProbe": c.LivenessProbe, "startupProbe": c.StartupProbe} {
				if port, ok := probePort(probe); ok && !hasPort(c, port) {
					out = append(out, fmt.Sprintf("%s%s asks the port %s, which the container does not have", at, what, port.String()))
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

func probePort(p *corev1.Probe) (intstr.IntOrString, bool) {
	switch {
	case p == nil:
	case p.HTTPGet != nil:
		return p.HTTPGet.Port, true
	case p.TCPSocket != nil:
		return p.TCPSocket.Port, true
	case p.GRPC != nil:
		return intstr.FromInt32(p.GRPC.Port), true
	}
	return intstr.IntOrString{}, false
}

// hasPort tells whether a container has a port of this name or number.
func hasPort(c corev1.Container, port intstr.IntOrString) bool {
	return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool {
		return port.Type == intstr.Int && p.ContainerPort == port.IntVal || port.Type == intstr.String && p.Name == port.StrVal
	})
}

func hasNamedPort(c corev1.Container, name string, number int32) bool {
	return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == name && p.ContainerPort == number })
}

// imageName is the last part of an image's name, without tag and digest.
func imageName(image string) string {
	name, _, _ := strings.Cut(image, "@")
	name, _, _ = strings.Cut(name[strings.LastIndex(name, "/")+1:], ":")
	return name
}

// selected are the workloads of a namespace that a selector takes.
func selected(workloads []Workload, namespace string, selector map[string]string) []Workload {
	var out []Workload
	for _, w := range workloads {
		if w.Namespace == namespace && labels.SelectorFromSet(selector).Matches(labels.Set(w.Template.Labels)) {
			out = append(out, w)
		}
	}
	return out
}
