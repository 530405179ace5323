package cluster

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/dishmesh/dishmesh/services/internal/cluster/tool"
	"github.com/dishmesh/dishmesh/services/internal/platform"
)

// seedSecret is the one random value of a cluster. It lies in the cluster only, where administrators of the cluster can
// read it and nobody else; every password follows from it, so that two places that must agree do, a second run writes
// the same, and a secret that is added later needs nothing more.
const (
	seedNamespace = "kube-system"
	seedSecret    = "dishmesh-seed"
)

// servers have a user per app, each with a password of its own.
var servers = []string{"kafka", "postgres", "redis"}

// secret is one Secret of the cluster.
type secret struct {
	namespace, name, kind string
	data                  map[string][]byte
}

// seed derives values by a name, as 32 characters that need no quoting anywhere.
type seed []byte

func (s seed) value(name string) string {
	mac := hmac.New(sha256.New, s)
	mac.Write([]byte(name))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:24])
}

// secrets lists every Secret that the manifests refer to.
func (s seed) secrets(apps []string, ca, ingress certificate) ([]secret, error) {
	accounts, err := json.Marshal(platform.BootstrapAccounts(func(email string) string { return s.value("account/" + email) }))
	if err != nil {
		return nil, err
	}
	acquirer := s.value("acquirer")
	one := func(namespace, name, key, value string) secret {
		return secret{namespace: namespace, name: name, data: map[string][]byte{key: []byte(value)}}
	}
	all := []secret{
		one(NamespaceServices, "payment-acquirer", "api-key", acquirer),
		one(NamespaceServices, "user-accounts", "accounts.json", string(accounts)),
		{namespace: NamespaceCity, name: "city", data: map[string][]byte{"acquirer-api-key": []byte(acquirer), "accounts.json": accounts}},
		one(NamespaceCity, "ingress-ca", "ca.pem", string(ca.certPEM)),
		{namespace: NamespaceIngress, name: "edge-certificate", kind: "kubernetes.io/tls",
			data: map[string][]byte{"tls.crt": ingress.certPEM, "tls.key": ingress.keyPEM}},
	}
	for _, app := range apps {
		own := map[string][]byte{"user": []byte(app)}
		for _, server := range servers {
			own[server] = []byte(s.value(server + "/" + app))
		}
		all = append(all,
			one(NamespaceServices, app+"-app-token", "token", s.value("app-token/"+app)),
			one(NamespaceServices, app+"-dapr-token", "token", s.value("dapr-token/"+app)),
			secret{namespace: NamespaceServices, name: app + "-credentials", data: own})
	}
	for _, server := range servers {
		users := map[string][]byte{"admin": []byte(s.value(server + "/admin"))}
		for _, app := range apps {
			users[app] = []byte(s.value(server + "/" + app))
		}
		all = append(all, secret{namespace: NamespaceData, name: server + "-users", data: users})
	}
	return all, nil
}

// manifest writes secrets as what `kubectl apply -f -` reads.
func manifest(secrets []secret) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, s := range secrets {
		kind := s.kind
		if kind == "" {
			kind = "Opaque"
		}
		err := enc.Encode(map[string]any{"apiVersion": "v1", "kind": "Secret", "type": kind, "data": s.data,
			"metadata": map[string]any{"name": s.name, "namespace": s.namespace, "labels": map[string]string{"app.kubernetes.io/part-of": "dishmesh"}}})
		if err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// clusterSeed reads the seed, and makes it in a cluster that has none.
func (c *Cluster) clusterSeed(ctx context.Context) (seed, error) {
	const jsonpath = "jsonpath={.data.seed}"
	read := func() (seed, error) {
		out, err := c.kubectl(ctx, "get", "secret", seedSecret, "-n", seedNamespace, "--ignore-not-found", "-o", jsonpath)
		if err != nil || len(out) == 0 {
			return nil, err
		}
		return base64.StdEncoding.DecodeString(string(out))
	}
	if s, err := read(); err != nil || s != nil {
		return s, err
	}
	s := make(seed, 32)
	_, _ = rand.Read(s) // never fails, see crypto/rand.Read
	b, err := manifest([]secret{{namespace: seedNamespace, name: seedSecret, data: map[string][]byte{"seed": s}}})
	if err != nil {
		return nil, err
	}
	_, err = c.run.Run(ctx, tool.Command{Name: "kubectl", Args: []string{"create", "-f", "-"}, Stdin: bytes.NewReader(b)})
	return s, err
}

// stepSecrets makes the namespaces, the certificate of the ingress and every Secret.
func (c *Cluster) stepSecrets(ctx context.Context) (string, error) {
	ca, ingress, did, err := c.files.ensureCertificates(c.now())
	if err != nil {
		return "", err
	}
	for _, folder := range []string{kindManifests, namespaces} {
		if err := c.apply(ctx, fieldManager, c.overlays[folder]); err != nil {
			return "", fmt.Errorf("apply %s: %w", folder, err)
		}
	}
	s, err := c.clusterSeed(ctx)
	if err != nil {
		return "", fmt.Errorf("the cluster's seed: %w", err)
	}
	all, err := s.secrets(platform.Apps(), ca, ingress)
	if err != nil {
		return "", err
	}
	b, err := manifest(all)
	if err != nil {
		return "", err
	}
	return did, c.apply(ctx, fieldManager, b)
}
