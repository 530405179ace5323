package manifest_test

import (
	"strings"
	"testing"
	"text/template"

	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/manifest"
)

// platform is a made-up platform in which every rule is kept: ten services as small as they can be, and for some of them
// what the mesh and Dapr are told.
var platform = template.Must(template.New("").Funcs(template.FuncMap{"callers": func(app string) string {
	var all []string
	for _, c := range communication.Callers(app) {
		if c != communication.Ingress {
			all = append(all, c)
		}
	}
	return strings.Join(all, ", ")
}}).Parse(`{{range .}}
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{.}}, namespace: dishmesh}
spec:
  selector: {matchLabels: {app: {{.}}}}
  template:
    metadata:
      labels: {app: {{.}}}
      annotations: {dapr.io/enabled: "true", dapr.io/app-id: {{.}}, dapr.io/app-port: "8080", dapr.io/config: cluster, dapr.io/env: "USER={{.}}"}
    spec:
      serviceAccountName: {{.}}
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: app
          image: dishmesh/{{.}}:dev
          ports: [{name: http-app, containerPort: 8080}{{if eq . "gateway"}}, {name: http-public, containerPort: 8081}{{end}}]
          readinessProbe: {httpGet: {path: /readyz, port: http-app}}
          livenessProbe: {httpGet: {path: /healthz, port: http-app}}
          resources: {requests: {cpu: 25m, memory: 32Mi}, limits: {memory: 64Mi}}
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: {{.}}, namespace: dishmesh}
---
apiVersion: v1
kind: Service
metadata: {name: {{.}}, namespace: dishmesh}
spec: {selector: {app: {{.}}}, ports: [{name: http-app, port: 8080, targetPort: http-app}{{if eq . "gateway"}}, {name: http-public, port: 8081, targetPort: http-public}{{end}}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: {{.}}, namespace: dishmesh}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{.}}}, maxReplicas: 2}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: {{.}}, namespace: dishmesh}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: {{.}}}}}
---
{{if ne . "gateway"}}
apiVersion: dapr.io/v1alpha1
kind: HTTPEndpoint
metadata: {name: {{.}}, namespace: dishmesh}
spec: {baseUrl: "http://{{.}}.dishmesh.svc.cluster.local:8080", headers: [{name: dapr-api-token, secretKeyRef: {name: {{.}}-token, key: token}}]}
scopes: [{{callers .}}]
---
{{end}}
{{end}}
apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: {name: cluster, namespace: dishmesh}
spec: {}
---
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: events, namespace: dishmesh}
spec: {type: pubsub.kafka, version: v1, metadata: [{name: brokers, value: "kafka.example:9093"}, {name: saslUsername, envRef: USER}]}
scopes: [order]
---
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: sms, namespace: dishmesh}
spec: {type: bindings.http, version: v1, metadata: [{name: url, value: "http://sms.example"}]}
scopes: [order]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: order, namespace: dishmesh}
spec: {workloadSelector: {labels: {app: order}}, egress: [{hosts: [dishmesh/sms.example, "dishmesh-data/*"]}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: kafka, namespace: dishmesh-data}
spec: {hosts: [kafka.example], addresses: [192.0.2.0/24], ports: [{number: 9093, name: tcp, protocol: TCP}], resolution: NONE, location: MESH_EXTERNAL}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: sms, namespace: dishmesh}
spec: {hosts: [sms.example], ports: [{number: 80, name: http, protocol: HTTP, targetPort: 443}], resolution: DNS, location: MESH_EXTERNAL}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: sms, namespace: dishmesh}
spec: {host: sms.example, trafficPolicy: {tls: {mode: SIMPLE, subjectAltNames: [sms.example]}}}
---
apiVersion: dapr.io/v2alpha1
kind: Subscription
metadata: {name: order-delivery, namespace: dishmesh}
spec: {pubsubname: events, topic: fooddelivery.delivery, routes: {default: /events/fooddelivery.delivery}}
scopes: [order]
---
apiVersion: dapr.io/v1alpha1
kind: Resiliency
metadata: {name: calls, namespace: dishmesh}
spec: {policies: {timeouts: {call: 5s}}, targets: {apps: {pricing: {timeout: call}}, components: {events: {outbound: {timeout: call}}}}}
scopes: [order]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: pricing, namespace: dishmesh}
spec:
  selector: {matchLabels: {app: pricing}}
  rules: [{from: [{source: {principals: [cluster.local/ns/dishmesh/sa/order]}}]}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: menu, namespace: dishmesh}
spec: {workloadSelector: {labels: {app: menu}}, egress: [{hosts: ["./*"]}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: mail, namespace: dishmesh}
spec: {hosts: [mail.example], ports: [{number: 25, name: tcp, protocol: TCP}], resolution: DNS, location: MESH_EXTERNAL}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: mail, namespace: dishmesh}
spec: {host: mail.example}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: pricing, namespace: dishmesh}
spec: {hosts: [pricing.dishmesh.svc.cluster.local], http: [{route: [{destination: {host: pricing.dishmesh.svc.cluster.local}}]}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: order, namespace: dishmesh}
spec: {podSelector: {matchLabels: {app: order}}, policyTypes: [Ingress]}
`))

// made is the made-up platform with one thing changed in the document of that kind and name; old must be there.
func made(t *testing.T, kind, name, old, changed string) []manifest.Object {
	t.Helper()
	var text strings.Builder
	if err := platform.Execute(&text, communication.Services()); err != nil {
		t.Fatal(err)
	}
	documents := strings.Split(text.String(), "\n---\n")
	done := kind == ""
	for i, d := range documents {
		if kind != "" && strings.Contains(d, "kind: "+kind+"\nmetadata: {name: "+name+",") {
			if !strings.Contains(d, old) {
				t.Fatalf("%s %s has no %q", kind, name, old)
			}
			documents[i], done = strings.ReplaceAll(d, old, changed), true
		}
	}
	if !done {
		t.Fatalf("there is no %s %s", kind, name)
	}
	docs, err := manifest.Parse("f", []byte(strings.Join(documents, "\n---\n")))
	if err != nil {
		t.Fatal(err)
	}
	objects, violations := loadSchema(t).CheckAll(docs)
	report(t, violations)
	return objects
}

// broken is a change of the made-up platform and the violation that it is.
type broken struct{ name, kind, of, old, changed, want string }

// seenToFail holds that a rule finds nothing in the made-up platform, and in each broken one just what is broken.
func seenToFail(t *testing.T, rule func([]manifest.Object) []string, cases []broken) {
	t.Helper()
	for _, tt := range append([]broken{{name: "nothing"}}, cases...) {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(rule(made(t, tt.kind, tt.of, tt.old, tt.changed)), "\n")
			for i, line := range strings.Split(got, "\n") { // lines of the fixture are nobody's business
				if file, after, ok := strings.Cut(line, ": "); ok && strings.HasPrefix(file, "f:") {
					line = after
				}
				if i == 0 {
					got = line
				} else {
					got += "\n" + line
				}
			}
			one(t, []string{got}, tt.want)
		})
	}
}
