package manifest

import (
	"errors"
	"fmt"

	kubeproxy "k8s.io/kube-proxy/config/v1alpha1"
	kubelet "k8s.io/kubelet/config/v1beta1"
	kubeadm "k8s.io/kubernetes/cmd/kubeadm/app/apis/kubeadm/v1beta4"
	kind "sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	"sigs.k8s.io/yaml"
)

// kubeadmKinds are the configurations that kind hands to kubeadm, of the version that Kubernetes 1.36 is set up with.
func kubeadmKinds() map[string]any {
	return map[string]any{
		"ClusterConfiguration":   &kubeadm.ClusterConfiguration{},
		"InitConfiguration":      &kubeadm.InitConfiguration{},
		"JoinConfiguration":      &kubeadm.JoinConfiguration{},
		"KubeletConfiguration":   &kubelet.KubeletConfiguration{},
		"KubeProxyConfiguration": &kubeproxy.KubeProxyConfiguration{},
	}
}

// decodePatches reads the patches that a cluster configuration carries as text, which kind and kubeadm would take with
// whatever is misspelt in them.
func decodePatches(d Document, cluster kind.Cluster) []string {
	var out []string
	check := func(path string, patches []string) {
		for i, text := range patches {
			at := d.At(fmt.Sprintf("%s[%d]", path, i))
			docs, err := Parse("patch", []byte(text))
			if err != nil {
				out = append(out, at+err.Error())
				continue
			}
			for _, doc := range docs {
				if err := decodePatch(doc); err != nil {
					out = append(out, at+err.Error())
				}
			}
		}
	}
	check("kubeadmConfigPatches", cluster.KubeadmConfigPatches)
	for i, node := range cluster.Nodes {
		check(fmt.Sprintf("nodes[%d].kubeadmConfigPatches", i), node.KubeadmConfigPatches)
	}
	return out
}

func decodePatch(d Document) error {
	into := kubeadmKinds()[d.Kind]
	if into == nil {
		return fmt.Errorf("kubeadm has no kind %q", d.Kind)
	}
	if err := yaml.UnmarshalStrict(d.JSON, into); err != nil {
		return errors.New("the patch of " + d.Kind + ": " + short(err))
	}
	return nil
}
