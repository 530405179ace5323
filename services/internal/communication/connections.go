package communication

import "slices"

// The namespaces of the cluster.
const (
	Namespace        = "dishmesh"         // the ten services
	DataNamespace    = "dishmesh-data"    // broker and stores, outside of the mesh
	CityNamespace    = "dishmesh-city"    // the outside world, outside of the mesh
	IngressNamespace = "dishmesh-ingress" // the gateway of the mesh
	DaprNamespace    = "dapr-system"
	IstioNamespace   = "istio-system"
	DNSNamespace     = "kube-system"

	// ObservabilityNamespace is there where somebody wants to look: k8s/components/observability.
	ObservabilityNamespace = "dishmesh-observability"
)

// Ports of a pod of ours.
const (
	AppPort    = 8080  // http-app: a service's handlers for the other services
	PublicPort = 8081  // http-public: the gateway's public API
	ActorPort  = 50002 // daprd to daprd, for the actors that carry sagas; calls of services don't go this way
)

// A Place is what a connection leads to: a Service and the pods behind it.
type Place struct {
	Namespace string
	Name      string // of the Service; its pods have the label app with this value, unless Pods says otherwise
	Port      int    // of the Service
	PodPort   int    // of the pods, where it differs from Port; NetworkPolicies go by this one
	Protocol  string // TCP or UDP
	Pods      map[string]string
}

// At is the port on which the pods listen.
func (p Place) At() int {
	if p.PodPort != 0 {
		return p.PodPort
	}
	return p.Port
}

// Labels are those of the pods behind the place.
func (p Place) Labels() map[string]string {
	if p.Pods != nil {
		return p.Pods
	}
	return map[string]string{"app": p.Name}
}

// Host is the place's name in the cluster's DNS.
func (p Place) Host() string { return p.Name + "." + p.Namespace + ".svc.cluster.local" }

// What is not a service and spoken to by services.
var (
	kafka    = Place{Namespace: DataNamespace, Name: "kafka", Port: 9092, Protocol: "TCP"}
	redis    = Place{Namespace: DataNamespace, Name: "redis", Port: 6379, Protocol: "TCP"}
	postgres = Place{Namespace: DataNamespace, Name: "postgres", Port: 5432, Protocol: "TCP"}

	acquirer = outside("acquirer", 80, 8090)
	sms      = outside("sms", 80, 8090)
	push     = outside("push", 80, 8090)
	mail     = outside("mail", 25, 2525)

	collector = Place{Namespace: ObservabilityNamespace, Name: "otel-collector", Port: 4317, Protocol: "TCP"}

	ingress = Place{Namespace: IngressNamespace, Name: Ingress, Port: 443, Protocol: "TCP", Pods: map[string]string{"istio": Ingress}}

	operator  = dapr("dapr-api", "dapr-operator", 443, 6500)
	sentry    = dapr("dapr-sentry", "dapr-sentry", 443, 50001)
	placement = dapr("dapr-placement-server", "dapr-placement-server", 50005, 0)
	scheduler = dapr("dapr-scheduler-server", "dapr-scheduler-server", 50006, 0)

	istiod = Place{Namespace: IstioNamespace, Name: "istiod", Port: 15012, Protocol: "TCP"}
	dns    = Place{Namespace: DNSNamespace, Name: "kube-dns", Port: 53, Protocol: "UDP", Pods: map[string]string{"k8s-app": "kube-dns"}}
	dnsTCP = Place{Namespace: DNSNamespace, Name: "kube-dns", Port: 53, Protocol: "TCP", Pods: map[string]string{"k8s-app": "kube-dns"}}
)

// outside is a part of the city; one process plays them all.
func outside(name string, port, podPort int) Place {
	return Place{Namespace: CityNamespace, Name: name, Port: port, PodPort: podPort, Protocol: "TCP", Pods: map[string]string{"app": "city"}}
}

func dapr(service, app string, port, podPort int) Place {
	return Place{Namespace: DaprNamespace, Name: service, Port: port, PodPort: podPort, Protocol: "TCP", Pods: map[string]string{"app": app}}
}

// Connection is an arrow from a service's pod, or the ingress's, to a place.
type Connection struct {
	From string
	To   Place
	Why  string
}

// Data is what services keep and hear: their stores, and the broker.
func Data() []Connection {
	var all []Connection
	for _, s := range Services() {
		all = append(all, Connection{s, kafka, "events"})
	}
	for _, s := range []string{"menu", "pricing", "restaurant", "delivery"} {
		all = append(all, Connection{s, redis, "its store"})
	}
	for _, s := range []string{"user", "order", "payment", "notification", "analytics"} {
		all = append(all, Connection{s, postgres, "its store"})
	}
	return append(all,
		Connection{Gateway, redis, "the rate limit that its replicas share"},
		Connection{"delivery", redis, "the couriers' positions that its replicas share"},
	)
}

// Outside is who leaves the platform, and where to.
func Outside() []Connection {
	return []Connection{
		{"payment", acquirer, "cards"},
		{"notification", mail, "mails"},
		{"notification", sms, "text messages"},
		{"notification", push, "push messages"},
	}
}

// ControlPlanes is what every pod needs to be one of the platform's: names, an identity, and its configuration.
func ControlPlanes() []Connection {
	var all []Connection
	for _, s := range Services() {
		all = append(all,
			Connection{s, dns, "names"},
			Connection{s, dnsTCP, "names"},
			Connection{s, istiod, "its proxy's configuration and certificate"},
			Connection{s, operator, "its sidecar's components"},
			Connection{s, sentry, "its sidecar's identity towards the control plane"},
			Connection{s, placement, "where actors are"},
			Connection{s, scheduler, "reminders"},
		)
	}
	return append(all,
		Connection{Ingress, dns, "names"},
		Connection{Ingress, dnsTCP, "names"},
		Connection{Ingress, istiod, "its configuration and certificate"},
	)
}

// Names of what is no service and connects to something by itself.
const (
	Rights = "rights" // keeps topics, databases and users as they are declared (k8s/data/rights)
	City   = "city"   // the outside world (k8s/city)
)

// Others is what those do that are no service: rights is a client of the servers that it looks after, the outside world
// comes in as everybody else does.
func Others() []Connection {
	return []Connection{
		{Rights, dns, "names"},
		{Rights, dnsTCP, "names"},
		{Rights, kafka, "topics, users and what they may"},
		{Rights, postgres, "databases, users and what they may"},
		{City, dns, "names"},
		{City, dnsTCP, "names"},
		{City, ingress, "kitchens and couriers use the public API"},
	}
}

// Actors is what sidecars ask of each other by Dapr's own protocol: a saga that is carried by another replica of its
// app. Nothing else goes from sidecar to sidecar.
func Actors() []Connection {
	return []Connection{{"order", pods("order", ActorPort), "sagas that another replica carries"}}
}

// Telemetry is what is told to the collector of traces, where there is one: by each service's Envoy and daprd, and by the
// ingress. It is not among Connections, for the platform does without it.
func Telemetry() []Connection {
	all := []Connection{{Ingress, collector, "spans"}}
	for _, s := range Services() {
		all = append(all, Connection{s, collector, "spans"})
	}
	return all
}

func pods(app string, port int) Place {
	return Place{Namespace: Namespace, Name: app, Port: port, Protocol: "TCP"}
}

// Connections is the whole map as machines see it that know ports only: the calls, and all that is no call.
func Connections() []Connection {
	var all []Connection
	for _, c := range Calls() {
		port := AppPort
		if c.Caller == Ingress {
			port = PublicPort
		}
		all = append(all, Connection{c.Caller, pods(c.Callee, port), "calls"})
	}
	return slices.Concat(all, Actors(), Data(), Outside(), ControlPlanes(), Others())
}
