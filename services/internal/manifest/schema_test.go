package manifest_test

import (
	"testing"
	"testing/fstest"
)

// TestFilesAreWhatTheirReadersExpect decodes every YAML file strictly and validates it as the API server would.
func TestFilesAreWhatTheirReadersExpect(t *testing.T) {
	top, files := yamlFiles(t)
	objects, violations := loadSchema(t).CheckFiles(top, files, use)
	report(t, violations)
	t.Logf("%d files, %d resources", len(files), len(objects))
}

// TestWrongFilesAreRefused shows for each reader that it refuses what it must.
func TestWrongFilesAreRefused(t *testing.T) {
	for _, tt := range []struct{ name, file, want string }{
		{"right", `
apiVersion: v1
kind: ServiceAccount
metadata: {name: order}
automountServiceAccountToken: false
`, ""},
		{"no kind", "metadata: {name: order}\n", `f.yaml:1: apiVersion and kind must say what this is`},
		{"unknown kind", `
apiVersion: apps/v1
kind: Deploymint
metadata: {name: order}
`, `f.yaml:3: Deploymint order: the kind Deploymint of apps/v1 is unknown to this cluster`},
		{"wrong version", `
apiVersion: autoscaling/v2beta1
kind: HorizontalPodAutoscaler
metadata: {name: order}
`, `f.yaml:3: HorizontalPodAutoscaler order: HorizontalPodAutoscaler is not served as autoscaling/v2beta1: did you mean autoscaling/v2?`},
		{"wrong field", `
apiVersion: v1
kind: Service
metadata: {name: order}
spec:
  ports:
    - {name: http-app, port: 8080, targetport: 8080}
`, `f.yaml:7: Service order: unknown field "spec.ports[0].targetport"`},
		{"key twice", `
apiVersion: v1
kind: ServiceAccount
metadata: {name: order}
metadata: {name: other}
`, `f.yaml: yaml: unmarshal errors:
  line 5: mapping key "metadata" already defined at line 4`},
		{"selector of nobody", `
apiVersion: apps/v1
kind: Deployment
metadata: {name: order}
spec:
  selector:
    matchLabels: {app: order}
  template:
    metadata:
      labels: {app: oder}
    spec:
      containers: [{name: app, image: "dishmesh/order:dev"}]
`, `f.yaml:10: Deployment order: spec.template.metadata.labels: Invalid value: {"app":"oder"}: ` + "`selector` does not match template `labels`"},
		{"probe out of range", `
apiVersion: v1
kind: Pod
metadata: {name: order}
spec:
  containers:
    - name: app
      image: dishmesh/order:dev
      readinessProbe: {httpGet: {path: /readyz, port: 8080}, timeoutSeconds: -1}
`, `f.yaml:9: Pod order: spec.containers[0].readinessProbe.timeoutSeconds: Invalid value: -1: must be greater than or equal to 0`},
		{"autoscaler without a bound", `
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: order}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: order}
  minReplicas: 3
  maxReplicas: 2
`, `f.yaml:8: HorizontalPodAutoscaler order: spec.maxReplicas: Invalid value: 2: must be greater than or equal to ` + "`minReplicas`"},
		{"Dapr: wrong field", `
apiVersion: dapr.io/v1alpha1
kind: HTTPEndpoint
metadata: {name: order}
spec:
  baseURL: http://order.dishmesh.svc.cluster.local:8080
`, `f.yaml:6: HTTPEndpoint order: unknown field "spec.baseURL"`},
		{"Dapr: field that must be there", `
apiVersion: dapr.io/v1alpha1
kind: HTTPEndpoint
metadata: {name: order}
spec:
  headers: [{name: dapr-api-token, value: x}]
`, `f.yaml:5: HTTPEndpoint order: spec.baseUrl: Required value`},
		{"Istio: wrong field", `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: order}
spec:
  hosts: [order]
  http:
    - route:
        - destination: {host: order, subsett: v1}
`, `f.yaml:9: VirtualService order: unknown field "spec.http[0].route[0].destination.subsett"`},
		{"Istio: of two only one", `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: order}
spec:
  hosts: [order]
  http:
    - match: [{uri: {exact: /a, prefix: /b}}]
      route: [{destination: {host: order}}]
`, `f.yaml:5: VirtualService order: error parsing "prefix", oneof istio.networking.v1alpha3.StringMatch.match_type is already set`},
		{"Istio: a value that is none", `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRIKT}}
`, `f.yaml:2: PeerAuthentication default: unknown value "\"STRIKT\"" for enum istio.security.v1beta1.PeerAuthentication.MutualTLS.Mode`},
		{"Istio: beyond the types", `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: order}
spec:
  host: order
  trafficPolicy:
    connectionPool: {tcp: {connectTimeout: 0s}}
`, `f.yaml:8: DestinationRule order: spec.trafficPolicy.connectionPool.tcp.connectTimeout: Invalid value: "0s": must be a valid duration greater than 1ms`},
		{"kind: wrong field", `
apiVersion: kind.x-k8s.io/v1alpha4
kind: Cluster
networking: {disableDefaultCni: true}
`, `f.yaml:2: Cluster: line 3: field disableDefaultCni not found in type v1alpha4.Networking`},
		{"kind: wrong field in a patch", `
apiVersion: kind.x-k8s.io/v1alpha4
kind: Cluster
kubeadmConfigPatches:
  - |
    kind: KubeletConfiguration
    failCgroupsV1: false
`, `f.yaml:5: Cluster: the patch of KubeletConfiguration: error unmarshaling JSON: while decoding JSON: json: unknown field "failCgroupsV1"`},
		{"kind: patch of nobody", `
apiVersion: kind.x-k8s.io/v1alpha4
kind: Cluster
nodes: [{role: control-plane, kubeadmConfigPatches: ["kind: Kubelet"]}]
`, `f.yaml:4: Cluster: kubeadm has no kind "Kubelet"`},
		{"nothing", "# a comment\n", "f.yaml: there is nothing in it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := fstest.MapFS{"f.yaml": {Data: []byte(tt.file)}}
			_, got := loadSchema(t).CheckFiles(files, []string{"f.yaml"}, use)
			one(t, got, tt.want)
		})
	}
}

// TestPatchesMayBePartsOnly: a patch leaves out what the whole has, but a field of it must exist.
func TestPatchesMayBePartsOnly(t *testing.T) {
	kustomization := "patches: [{path: p.yaml, target: {kind: Deployment}}]\n"
	for _, tt := range []struct{ name, kustomization, patch, want string }{
		{"part", kustomization, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: any}
spec: {template: {spec: {containers: [{name: app, $patch: delete}]}}}
`, ""},
		{"wrong field", kustomization, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: any}
spec: {replica: 2}
`, `k/p.yaml:5: Deployment any: unknown field "spec.replica"`},
		{"operations", kustomization, "- {op: replace, path: /spec/replicas, value: 2}\n", ""},
		{"no operation", kustomization, "- {op: set, path: /spec/replicas, value: 2}\n", `k/p.yaml:1: operation 0: "set" on "/spec/replicas" is none of RFC 6902`},
		{"wrong field of the kustomization", "resource: [p.yaml]\n", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}\n",
			`k/kustomization.yaml:1: error unmarshaling JSON: while decoding JSON: json: unknown field "resource"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := fstest.MapFS{"k/kustomization.yaml": {Data: []byte(tt.kustomization)}, "k/p.yaml": {Data: []byte(tt.patch)}}
			_, got := loadSchema(t).CheckFiles(files, []string{"k/kustomization.yaml", "k/p.yaml"}, use)
			one(t, got, tt.want)
		})
	}
}
