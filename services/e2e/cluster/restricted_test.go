package cluster

import (
	"strings"
	"testing"

	"github.com/dishmesh/dishmesh/services/internal/communication"
)

// modest is a pod that asks for nothing that the rules of the namespace refuse; SECURITY is put in its container.
const modest = `
apiVersion: v1
kind: Pod
metadata: {name: proof-modest, namespace: ` + communication.Namespace + `}
spec:
  automountServiceAccountToken: false
  securityContext: {seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: app
      image: ` + probeImage + `
      securityContext: {SECURITY}
`

// TestRestrictedPods asks the API server, which makes nothing of it (a dry run), for pods that ask for too much.
func TestRestrictedPods(t *testing.T) {
	r := shows(t, "pods", "The namespace of the services takes no pod that asks for more than a service needs.", "k8s/base/restricted.yaml")
	fields := []struct{ what, good, bad, says string }{
		{"to run as root", "runAsNonRoot: true", "runAsNonRoot: false", "may run as root"},
		{"to gain privileges", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "may gain privileges"},
		{"to keep capabilities", "capabilities: {drop: [ALL]}", "capabilities: {drop: [CHOWN]}", "drop ALL"},
		{"to write to its image", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "can write to its image"},
	}
	ask := func(worse int) error {
		var security []string
		for i, f := range fields {
			if i == worse {
				security = append(security, f.bad)
			} else {
				security = append(security, f.good)
			}
		}
		pod := strings.Replace(modest, "SECURITY", strings.Join(security, ", "), 1)
		_, err := here.Feed(r.Context(), strings.NewReader(pod), "create", "--dry-run=server", "-f", "-")
		return err
	}
	if err := ask(-1); err != nil {
		r.Errorf("a pod that asks for nothing: %v, want that it is taken, or nothing is shown", err)
	}
	for i, f := range fields {
		err := ask(i)
		if err == nil || !strings.Contains(err.Error(), f.says) {
			r.Errorf("a pod that asks %s: %v, want that it is refused, because it %q", f.what, err, f.says)
			continue
		}
		r.Saw("a pod that asks %s is refused", f.what)
	}
}
