// Package manifest reads the YAML of the cluster (components, k8s, mesh, kind) as those who will read it there do:
// Kubernetes, Dapr, Istio and kind, by their own Go types and validation. What is misspelt, left out or does not fit
// together is found on a machine that has no cluster.
//
// It is a module of its own, because the types of four projects move many versions of what the services are built from;
// no service imports it. It lies here, below services, so that it may import the communication map.
//
// A rule is a function from decoded resources to violations, one line each, with file and line or with the overlay and
// the resource, so that it is seen to fail on made-up resources before it is trusted on the real ones.
package manifest
