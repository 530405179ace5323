package analysis_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"istio.io/istio/pkg/log"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/dishmesh/dishmesh/services/internal/manifest/analysis"
)

// Only what the tests themselves say is of interest.
func TestMain(m *testing.M) {
	for _, scope := range log.Scopes() {
		scope.SetOutputLevel(log.ErrorLevel)
	}
	m.Run()
}

const root = "../../../.."

// charts is what Istio's and Dapr's charts put beside the resources, as far as the analysis asks for it.
const charts = `
apiVersion: v1
kind: Namespace
metadata: {name: istio-system}
---
apiVersion: v1
kind: Namespace
metadata: {name: dishmesh-ingress, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Service
metadata: {name: ingress, namespace: dishmesh-ingress}
spec:
  selector: {app: ingress, istio: ingress}
  ports: [{name: http2, port: 80, targetPort: 80, protocol: TCP}, {name: https, port: 443, targetPort: 443, protocol: TCP}]
---
apiVersion: v1
kind: Pod
metadata: {name: ingress, namespace: dishmesh-ingress, labels: {app: ingress, istio: ingress}}
spec: {containers: [{name: istio-proxy, image: "istio/proxyv2:1.31.1"}]}
`

// certificate is the secret that "dishmesh cluster up" makes for the ingress.
func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, &of, &of, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	encoded := func(kind string, der []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return "apiVersion: v1\nkind: Secret\nmetadata: {name: edge-certificate, namespace: dishmesh-ingress}\ntype: kubernetes.io/tls\ndata: {tls.crt: " +
		encoded("CERTIFICATE", cert) + ", tls.key: " + encoded("PRIVATE KEY", private) + "}\n"
}

func built(t *testing.T, folder string) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join(root, folder))
	if err != nil {
		t.Fatal(err)
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, r := range resources.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "---\n%s", text)
		pod, err := podOf(text)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "---\n%s", pod)
	}
	return out.String()
}

// podOf is a pod of a Deployment or StatefulSet: the analysis goes by pods, which a cluster would have.
func podOf(text []byte) ([]byte, error) {
	var workload struct {
		Kind     string
		Metadata struct{ Name, Namespace string }
		Spec     struct {
			Template struct {
				Metadata map[string]any
				Spec     map[string]any
			}
		}
	}
	if err := yaml.Unmarshal(text, &workload); err != nil {
		return nil, err
	}
	if workload.Kind != "Deployment" && workload.Kind != "StatefulSet" {
		return nil, nil
	}
	meta := workload.Spec.Template.Metadata
	meta["name"], meta["namespace"] = workload.Metadata.Name, workload.Metadata.Namespace
	spec := workload.Spec.Template.Spec
	if containers, ok := spec["containers"].([]any); ok && workload.Metadata.Namespace == "dishmesh" { // istiod puts it there
		spec["containers"] = append(containers, map[string]any{"name": "istio-proxy", "image": "istio/proxyv2:1.31.1"})
	}
	return yaml.Marshal(map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
}

func analyze(t *testing.T, config string, texts ...string) []string {
	t.Helper()
	var sources []analysis.Source
	for i, text := range texts {
		sources = append(sources, analysis.Source{Name: fmt.Sprint("text ", i), YAML: strings.NewReader(text)})
	}
	got, err := analysis.Analyze(config, sources...)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// meshConfig is what istiod is told, as a file of its own.
func meshConfig(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "mesh", "mesh-config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var values struct {
		MeshConfig map[string]any    `json:"meshConfig"`
		Env        map[string]string `json:"env"`
	}
	if err := yaml.Unmarshal(raw, &values); err != nil {
		t.Fatal(err)
	}
	for name := range values.Env {
		if !analysis.IsSetting(name) {
			t.Errorf("mesh/mesh-config.yaml: istiod has no setting %s", name)
		}
	}
	text, err := yaml.Marshal(values.MeshConfig)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "mesh.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestIstioHasNothingAgainstIt is "istioctl analyze" over the overlay of this machine with the mesh, and over production,
// which has the mesh's rules in it.
func TestIstioHasNothingAgainstIt(t *testing.T) {
	for _, folders := range [][]string{{"k8s/overlays/kind", "mesh"}, {"k8s/overlays/production"}} {
		t.Run(folders[0], func(t *testing.T) {
			texts := []string{charts, certificate(t)}
			for _, folder := range folders {
				texts = append(texts, built(t, folder))
			}
			for _, v := range analyze(t, meshConfig(t), texts...) {
				t.Error(v)
			}
		})
	}
}

// TestAnalysisIsSeenToFail: each of these files is wrong in a way that types don't tell.
func TestAnalysisIsSeenToFail(t *testing.T) {
	const service = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Service
metadata: {name: menu, namespace: shop}
spec: {selector: {app: menu}, ports: [{name: http-app, port: 8080}]}
---
`
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"right", `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: menu, namespace: shop}
spec: {hosts: [menu], http: [{route: [{destination: {host: menu}}]}]}
`, nil},
		{"route to nowhere", `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: menu, namespace: shop}
spec: {hosts: [menu], http: [{route: [{destination: {host: menus}}]}]}
`, []string{`IST0101 VirtualService shop/menu: Referenced host not found: "menus"`}},
		{"subset that is none", `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: menu, namespace: shop}
spec: {hosts: [menu], http: [{route: [{destination: {host: menu, subset: v2}}]}]}
`, []string{`IST0101 VirtualService shop/menu: Referenced host+subset in destinationrule not found: "menu+v2"`}},
		{"weights", `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: menu, namespace: shop}
spec: {hosts: [menu], http: [{route: [{destination: {host: menu}, weight: -1}]}]}
`, []string{"IST0106 VirtualService shop/menu: Schema validation error: weight -1 < 0"}},
		{"gateway of nobody", `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec: {selector: {istio: nobody}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
`, []string{`IST0101 Gateway shop/edge: Referenced selector not found: "istio=nobody"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := analyze(t, "", service+tt.text)
			slices.Sort(got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if analysis.IsSetting("PILOT_JWT_ENABLE_REMOTE_JWKS_") || !analysis.IsSetting("PILOT_JWT_ENABLE_REMOTE_JWKS") {
		t.Error("settings of istiod are not told from others")
	}
}
