package manifest_test

import (
	"slices"
	"testing"

	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/manifest"
)

func TestServicesIsSeenToFail(t *testing.T) {
	seenToFail(t, manifest.Services, []broken{
		{"no Deployment", "Deployment", "menu", "kind: Deployment", "kind: StatefulSet", "menu: there is no Deployment dishmesh/menu"},
		{"app id", "Deployment", "menu", "dapr.io/app-id: menu", "dapr.io/app-id: menus", `Deployment menu: the annotation dapr.io/app-id is "menus", want "menu"`},
		{"no sidecar", "Deployment", "menu", `dapr.io/enabled: "true"`, `dapr.io/enabled: "false"`, `Deployment menu: the annotation dapr.io/enabled is "false", want "true"`},
		{"app id twice", "Deployment", "menu", "dapr.io/app-id: menu", "dapr.io/app-id: analytics",
			"Deployment menu: the annotation dapr.io/app-id is \"analytics\", want \"menu\"\nDeployment analytics: it has the app id analytics of menu; give it one of its own"},
		{"account", "Deployment", "menu", "serviceAccountName: menu", "serviceAccountName: default", `Deployment menu: its pods run as the ServiceAccount "default", want "menu"`},
		{"image of another", "Deployment", "menu", "dishmesh/menu:dev", "dishmesh/order:dev", `Deployment menu: the container app has the image "dishmesh/order:dev", which is not the service's own`},
		{"port", "Deployment", "menu", "containerPort: 8080", "containerPort: 8888", "Deployment menu: the container app lacks the port http-app, 8080"},
		{"public port", "Deployment", "menu", "containerPort: 8080}", "containerPort: 8080}, {name: http-public, containerPort: 8081}", "Deployment menu: the port http-public, 8081 is the gateway's, and only the gateway's"},
		{"readiness", "Deployment", "menu", "/readyz", "/ready", "Deployment menu: its readinessProbe does not ask /readyz, which knows of sidecar and store"},
		{"liveness", "Deployment", "menu", "/healthz", "/readyz", "Deployment menu: its livenessProbe does not ask /healthz, which knows of the process only"},
		{"no account", "ServiceAccount", "menu", "name: menu", "name: menus", "menu: there is no ServiceAccount dishmesh/menu"},
		{"Service in another namespace", "Service", "menu", "namespace: dishmesh", "namespace: default", "menu: there is no Service dishmesh/menu"},
		{"Service of nobody", "Service", "menu", "{app: menu}", "{app: menus}", "Service menu: its selector map[app:menus] takes no pod"},
		{"Service of another", "Service", "menu", "{app: menu}", "{app: order}", "Service menu: its selector map[app:order] takes the pods of order"},
		{"Service's port", "Service", "menu", "port: 8080", "port: 80", "Service menu: it lacks the port http-app, 8080"},
		{"Service's target", "Service", "menu", "targetPort: http-app", "targetPort: http", "Service menu: its port http-app leads to http, which the pods of menu don't have"},
		{"autoscaler", "HorizontalPodAutoscaler", "menu", "kind: Deployment, name: menu", "kind: Deployment, name: order", "HorizontalPodAutoscaler menu: it scales Deployment order"},
		{"disruption", "PodDisruptionBudget", "menu", "{app: menu}", "{app: order}", "PodDisruptionBudget menu: it does not select the pods of menu"},
		{"no endpoint", "HTTPEndpoint", "menu", "name: menu,", "name: menus,", "menu: there is no HTTPEndpoint dishmesh/menu"},
		{"endpoint elsewhere", "HTTPEndpoint", "menu", "8080", "80", `HTTPEndpoint menu: its baseUrl is "http://menu.dishmesh.svc.cluster.local:80", want "http://menu.dishmesh.svc.cluster.local:8080"`},
		{"endpoint without the token", "HTTPEndpoint", "menu", "name: dapr-api-token", "name: token", "HTTPEndpoint menu: it does not set the header dapr-api-token from a secret"},
		{"a caller too many", "HTTPEndpoint", "menu", "[gateway, ", "[gateway, order, ", "HTTPEndpoint menu: its scopes are [gateway order pricing], its callers in the declared map [gateway pricing]"},
		{"a caller too few", "HTTPEndpoint", "menu", "[gateway, ", "[", "HTTPEndpoint menu: its scopes are [pricing], its callers in the declared map [gateway pricing]"},
	})
}

func TestReferencesIsSeenToFail(t *testing.T) {
	rule := func(objects []manifest.Object) []string {
		return manifest.References(objects, []string{"fooddelivery.delivery"})
	}
	seenToFail(t, rule, []broken{
		{"component for all", "Component", "events", "scopes: [order]", "", "Component events: it has no scopes: every sidecar would load it"},
		{"component for nobody", "Component", "events", "scopes: [order]", "scopes: [ordr]", `Component events: the scope "ordr" is no app id`},
		{"variable", "Component", "events", "envRef: USER", "envRef: USERNAME", "Deployment order: the component events wants USERNAME of the sidecar, which dapr.io/env and dapr.io/env-from-secret don't give"},
		{"subscription to nothing", "Subscription", "order-delivery", "pubsubname: events", "pubsubname: event", `Subscription order-delivery: there is no component "event"`},
		{"topic", "Subscription", "order-delivery", "topic: fooddelivery.delivery", "topic: fooddelivery.deliveries", `Subscription order-delivery: the broker has no topic "fooddelivery.deliveries"`},
		{"resiliency of nobody", "Resiliency", "calls", "apps: {pricing:", "apps: {prices:", `Resiliency calls: the target "prices" is no app id`},
		{"resiliency of nothing", "Resiliency", "calls", "components: {events:", "components: {event:", `Resiliency calls: the target "event" is no component`},
		{"configuration", "Deployment", "order", "dapr.io/config: cluster", "dapr.io/config: local", `Deployment order: dapr.io/config: there is no Configuration "local"`},
		{"principal", "AuthorizationPolicy", "pricing", "sa/order", "sa/ordr", `AuthorizationPolicy pricing: there is no ServiceAccount for the principal "cluster.local/ns/dishmesh/sa/ordr"`},
		{"principal of another namespace", "AuthorizationPolicy", "pricing", "ns/dishmesh/", "ns/default/", `AuthorizationPolicy pricing: there is no ServiceAccount for the principal "cluster.local/ns/default/sa/order"`},
		{"policy for nobody", "AuthorizationPolicy", "pricing", "{app: pricing}", "{app: prices}", "AuthorizationPolicy pricing: it selects no pod: map[app:prices]"},
		{"Sidecar for nobody", "Sidecar", "menu", "{app: menu}", "{app: menus}", "Sidecar menu: it selects no pod: map[app:menus]"},
		{"route to nowhere", "VirtualService", "pricing", "{host: pricing.dishmesh", "{host: price.dishmesh", "VirtualService pricing: there is no Service dishmesh/price for the host price.dishmesh.svc.cluster.local"},
		{"short name", "VirtualService", "pricing", "{host: pricing.dishmesh.svc.cluster.local}", "{host: pricing}",
			"VirtualService pricing: the host pricing is no full name of a Service (NAME.NAMESPACE.svc.cluster.local), and no ServiceEntry has it"},
		{"rule for nothing", "DestinationRule", "mail", "host: mail.example", "host: mails.example",
			"DestinationRule mail: the host mails.example is no full name of a Service (NAME.NAMESPACE.svc.cluster.local), and no ServiceEntry has it"},
		{"policy for no pod", "NetworkPolicy", "order", "{app: order}", "{app: ordr}", "NetworkPolicy order: it selects no pod of dishmesh"},
	})
}

func TestAddressesIsSeenToFail(t *testing.T) {
	seenToFail(t, manifest.Addresses, []broken{
		{"unknown host", "Component", "sms", "http://sms.example", "http://text.example",
			"Component sms: the mesh does not know text.example:80: neither a Service nor a ServiceEntry has this name and port"},
		{"past Envoy", "Component", "sms", "http://", "https://", "Component sms: the mesh does not know sms.example:443: neither a Service nor a ServiceEntry has this name and port"},
		{"unknown port", "Component", "events", "kafka.example:9093", "kafka.example:9092",
			"Component events: the mesh does not know kafka.example:9092: neither a Service nor a ServiceEntry has this name and port"},
		{"one of two", "Component", "events", "kafka.example:9093", "kafka.example:9093,kafka2.example:9093",
			"Component events: the mesh does not know kafka2.example:9093: neither a Service nor a ServiceEntry has this name and port"},
		{"no port", "Component", "events", "name: brokers, value: \"kafka.example:9093\"", "name: host, value: kafka.example", `Component events: "kafka.example:" has no port`},
		{"not let through to a namespace", "Sidecar", "order", `, "dishmesh-data/*"`, "", "Component events: the Sidecar order does not let through to kafka.example of dishmesh-data"},
		{"not let through to a host", "Sidecar", "order", "dishmesh/sms.example, ", "", "Component sms: the Sidecar order does not let through to sms.example of dishmesh"},
		{"of a container", "Deployment", "order", "image: dishmesh", "env: [{name: GEO_REDIS_ADDR, value: \"redis.example:6379\"}]\n          image: dishmesh",
			"Deployment order: the mesh does not know redis.example:6379: neither a Service nor a ServiceEntry has this name and port"},
	})
}

func TestEncryptedIsSeenToFail(t *testing.T) {
	seenToFail(t, manifest.Encrypted, []broken{
		{"nothing said", "DestinationRule", "sms", "host: sms.", "host: other.", "ServiceEntry sms: no DestinationRule encrypts what goes to sms.example"},
		{"switched off", "DestinationRule", "sms", "mode: SIMPLE", "mode: DISABLE", "ServiceEntry sms: no DestinationRule encrypts what goes to sms.example"},
		{"anybody's certificate", "DestinationRule", "sms", ", subjectAltNames: [sms.example]", "", "ServiceEntry sms: whoever answers for sms.example is believed: name it in subjectAltNames"},
		{"Redis", "ServiceEntry", "kafka", "name: tcp,", "name: tcp-redis,", "ServiceEntry kafka: no DestinationRule encrypts what goes to kafka.example"},
		{"within the cluster", "ServiceEntry", "sms", "hosts: [sms.example]", "hosts: [sms.dishmesh-city.svc.cluster.local]", ""},
	})
}

// TestCarriedIsSeenToFail: the made-up platform is the overlay that should have the rules.
func TestCarriedIsSeenToFail(t *testing.T) {
	var rules []manifest.Object
	for _, o := range made(t, "", "", "", "") {
		if o.Kind == "AuthorizationPolicy" || o.Kind == "Sidecar" || o.Kind == "ServiceEntry" {
			rules = append(rules, o)
		}
	}
	rule := func(may map[string][]string) func([]manifest.Object) []string {
		return func(objects []manifest.Object) []string { return manifest.Carried(objects, rules, may) }
	}
	seenToFail(t, rule(nil), []broken{
		{"removed", "AuthorizationPolicy", "pricing", "name: pricing", "name: prices", "AuthorizationPolicy dishmesh/pricing: it is a rule of the mesh, and the overlay has it not"},
		{"in another namespace", "AuthorizationPolicy", "pricing", "namespace: dishmesh", "namespace: default", "AuthorizationPolicy dishmesh/pricing: it is a rule of the mesh, and the overlay has it not"},
		{"a caller too many", "AuthorizationPolicy", "pricing", "sa/order]", "sa/order, cluster.local/ns/dishmesh/sa/menu]",
			"AuthorizationPolicy dishmesh/pricing: spec.rules[0].from[0].source.principals[1] is cluster.local/ns/dishmesh/sa/menu, and missing in the mesh's rules"},
		{"a caller too few", "AuthorizationPolicy", "pricing", "[cluster.local/ns/dishmesh/sa/order]", "[]",
			"AuthorizationPolicy dishmesh/pricing: spec.rules[0].from[0].source.principals is [], and missing in the mesh's rules\n" +
				"AuthorizationPolicy dishmesh/pricing: spec.rules[0].from[0].source.principals[0] is missing, and cluster.local/ns/dishmesh/sa/order in the mesh's rules"},
		{"for all pods", "AuthorizationPolicy", "pricing", "selector: {matchLabels: {app: pricing}}", "action: ALLOW",
			"AuthorizationPolicy dishmesh/pricing: spec.action is ALLOW, and missing in the mesh's rules\n" +
				"AuthorizationPolicy dishmesh/pricing: spec.selector.matchLabels.app is missing, and pricing in the mesh's rules"},
		{"reaches everything", "Sidecar", "menu", "./*", "*/*", "Sidecar dishmesh/menu: spec.egress[0].hosts[0] is */*, and ./* in the mesh's rules"},
	})
	one(t, rule(map[string][]string{"ServiceEntry dishmesh/m*": {"spec.hosts"}})(made(t, "ServiceEntry", "mail", "mail.example", "smtp.example")), "")
	one(t, rule(map[string][]string{"ServiceEntry dishmesh/m*": {"spec.host"}})(made(t, "ServiceEntry", "mail", "mail.example", "smtp.example")),
		"ServiceEntry dishmesh/mail: spec.hosts[0] is smtp.example, and mail.example in the mesh's rules\nServiceEntry dishmesh/m*: spec.host may differ, and does not")
	one(t, rule(map[string][]string{"ServiceEntry dishmesh/mail": {"spec.ports"}})(made(t, "", "", "", "")), "ServiceEntry dishmesh/mail: spec.ports may differ, and does not")
}

func TestPodsIsSeenToFail(t *testing.T) {
	rule := func(objects []manifest.Object) []string {
		return slices.Concat(manifest.Images(objects), manifest.Restricted(objects), manifest.Secrets(objects), manifest.Probes(objects))
	}
	const at = "Deployment menu: container app: "
	seenToFail(t, rule, []broken{
		{"no tag", "Deployment", "menu", "dishmesh/menu:dev", "registry:5000/dishmesh/menu", at + `the image "registry:5000/dishmesh/menu" has no tag: name a version or a digest`},
		{"latest", "Deployment", "menu", "dishmesh/menu:dev", "dishmesh/menu:latest", at + `the image "dishmesh/menu:latest" is another one tomorrow: name a version or a digest`},
		{"major version", "Deployment", "menu", "dishmesh/menu:dev", "postgres:15", at + `the image "postgres:15" is another one after the next release: name a whole version or a digest`},
		{"digest", "Deployment", "menu", "dishmesh/menu:dev", "dishmesh/menu@sha256:0123", ""},
		{"sidecar's image", "Deployment", "menu", "dapr.io/config: cluster", "dapr.io/sidecar-image: daprd", `Deployment menu: dapr.io/sidecar-image: the image "daprd" has no tag: name a version or a digest`},
		{"root", "Deployment", "menu", "runAsNonRoot: true, ", "", `Deployment menu: runAsNonRoot != true: pod or container "app" must set securityContext.runAsNonRoot=true`},
		{"capabilities", "Deployment", "menu", "drop: [ALL]", "drop: [NET_RAW]", `Deployment menu: unrestricted capabilities: container "app" must set securityContext.capabilities.drop=["ALL"]`},
		{"seccomp", "Deployment", "menu", ", seccompProfile: {type: RuntimeDefault}", "", `Deployment menu: seccompProfile: pod or container "app" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"`},
		{"writes to its image", "Deployment", "menu", "readOnlyRootFilesystem: true, ", "", at + "it can write to its image: set readOnlyRootFilesystem: true"},
		{"no limit", "Deployment", "menu", "limits: {memory: 64Mi}", "limits: {}", at + "it must request processor and memory, and have a limit of memory"},
		{"secret", "Deployment", "menu", "image: dishmesh", "env: [{name: DB_PASSWORD, value: hunter2}]\n          image: dishmesh", at + "the value of DB_PASSWORD is for everybody to read: take it from a secret"},
		{"secret of the sidecar", "Deployment", "menu", "USER=menu", "USER=menu,KAFKA_PASSWORD=hunter2", "Deployment menu: dapr.io/env: the value of KAFKA_PASSWORD is for everybody to read: use dapr.io/env-from-secret"},
		{"content of a secret", "Configuration", "cluster", "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: cluster, namespace: dishmesh}\nspec: {}",
			"apiVersion: v1\nkind: Secret\nmetadata: {name: cluster, namespace: dishmesh}\nstringData: {a: b}", "Secret cluster: its content is for everybody to read: make it outside of the repository, refer to it by name"},
		{"no readiness", "Deployment", "menu", "readinessProbe: {httpGet: {path: /readyz, port: http-app}}", "", at + "it serves a port, and nobody asks whether it is ready: add a readinessProbe"},
		{"killed when not ready", "Deployment", "menu", "/healthz", "/readyz", at + "it is killed when it is only not ready: livenessProbe must ask something else, or be more patient"},
		{"port of a probe", "Deployment", "menu", "path: /healthz, port: http-app", "path: /healthz, port: http", at + "livenessProbe asks the port http, which the container does not have"},
	})
}

func TestListedIsSeenToFail(t *testing.T) {
	rule := func(objects []manifest.Object) []string {
		return manifest.Listed(objects, []string{"docker.io/library/redis:7.0.15", "docker.io/apache/kafka:4.1.1"})
	}
	seenToFail(t, rule, []broken{
		{"listed", "Deployment", "menu", "dishmesh/menu:dev", "redis:7.0.15", ""},
		{"listed below a name", "Deployment", "menu", "dishmesh/menu:dev", "apache/kafka:4.1.1", ""},
		{"another tag", "Deployment", "menu", "dishmesh/menu:dev", "redis:7.0.16", "Deployment menu: container app: nobody brings the image docker.io/library/redis:7.0.16 to the cluster"},
		{"another registry", "Deployment", "menu", "dishmesh/menu:dev", "ghcr.io/apache/kafka:4.1.1", "Deployment menu: container app: nobody brings the image ghcr.io/apache/kafka:4.1.1 to the cluster"},
	})
}

// TestReachIsSeenToFail: two pods of ours and the world around them.
func TestReachIsSeenToFail(t *testing.T) {
	const pods = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: order, namespace: dishmesh}
spec:
  selector: {matchLabels: {app: order}}
  template: {metadata: {labels: {app: order}}, spec: {containers: [{name: app, image: "a:1"}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: menu, namespace: dishmesh}
spec:
  selector: {matchLabels: {app: menu}}
  template: {metadata: {labels: {app: menu}}, spec: {containers: [{name: app, image: "a:1"}]}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: dishmesh}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
`
	policy := func(name, spec string) string {
		return "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: " + name + ", namespace: dishmesh}\nspec: " + spec + "\n"
	}
	in := func(from, port string) string {
		return policy("in", "{podSelector: {matchLabels: {app: menu}}, policyTypes: [Ingress], ingress: [{from: ["+from+"], ports: [{port: "+port+"}]}]}")
	}
	out := func(to, port string) string {
		return policy("out", "{podSelector: {matchLabels: {app: order}}, policyTypes: [Egress], egress: [{to: ["+to+"], ports: [{port: "+port+"}]}]}")
	}
	const order, menu = "{podSelector: {matchLabels: {app: order}}}", "{podSelector: {matchLabels: {app: menu}}}"
	call := communication.Connection{From: "order", To: communication.Place{Namespace: "dishmesh", Name: "menu", Port: 8080, Protocol: "TCP"}}
	for _, tt := range []struct {
		name, policies string
		declared       []communication.Connection
		want           string
	}{
		{"as declared", in(order, "8080") + out(menu, "8080"), []communication.Connection{call}, ""},
		{"nothing", "", nil, ""},
		{"one end only", in(order, "8080"), []communication.Connection{call}, "the map has, and the NetworkPolicies refuse: dishmesh/order -> dishmesh/menu: 8080/TCP"},
		{"another port", in(order, "8081") + out(menu, "8081"), []communication.Connection{call},
			"the NetworkPolicies allow, and the map has not: dishmesh/order -> dishmesh/menu: 8081/TCP\nthe map has, and the NetworkPolicies refuse: dishmesh/order -> dishmesh/menu: 8080/TCP"},
		{"an arrow too many", in(order, "8080") + out(menu, "8080"), nil, "the NetworkPolicies allow, and the map has not: dishmesh/order -> dishmesh/menu: 8080/TCP"},
		{"whoever is in a namespace", in("{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: default}}}", "8080"), nil,
			"the NetworkPolicies allow, and the map has not: default/stranger -> dishmesh/menu: 8080/TCP"},
		{"the world", out("{ipBlock: {cidr: 198.51.100.0/24}}", "443"), nil, "the NetworkPolicies allow, and the map has not: dishmesh/order -> the world: 443/TCP"},
		{"nobody of that name", in(order, "8080") + out(menu, "8080"), []communication.Connection{call, {From: "ordr", To: call.To}}, "the map has ordr -> menu.dishmesh.svc.cluster.local, and there is no pod ordr"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			docs, err := manifest.Parse("f", []byte(pods+tt.policies))
			if err != nil {
				t.Fatal(err)
			}
			objects, violations := loadSchema(t).CheckAll(docs)
			report(t, violations)
			one(t, manifest.Reach(objects, tt.declared), tt.want)
		})
	}
}
