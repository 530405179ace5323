package manifest

import (
	"slices"
	"strings"

	api "istio.io/api/networking/v1alpha3"
	networking "istio.io/client-go/pkg/apis/networking/v1"
)

// Encrypted holds that what speaks plainly within a pod is encrypted by Envoy when it leaves the cluster: HTTP, and Redis,
// which services use past their sidecars. The rule that does it names the certificate that it takes.
func Encrypted(objects []Object) []string {
	rules := map[string]*api.ClientTLSSettings{}
	for _, d := range All[*networking.DestinationRule](objects) {
		rules[d.Of.Spec.GetHost()] = d.Of.Spec.GetTrafficPolicy().GetTls()
	}
	var out []string
	for _, e := range All[*networking.ServiceEntry](objects) {
		plain := slices.ContainsFunc(e.Of.Spec.GetPorts(), func(p *api.ServicePort) bool {
			return p.GetProtocol() == "HTTP" || strings.HasPrefix(p.GetName(), "tcp-redis")
		})
		for _, host := range e.Of.Spec.GetHosts() {
			if !plain || strings.HasSuffix(host, ".svc.cluster.local") {
				continue
			}
			switch tls := rules[host]; {
			case tls.GetMode() != api.ClientTLSSettings_SIMPLE && tls.GetMode() != api.ClientTLSSettings_MUTUAL:
				out = append(out, e.At("spec")+"no DestinationRule encrypts what goes to "+host)
			case tls.GetInsecureSkipVerify().GetValue() || !slices.Contains(tls.GetSubjectAltNames(), host):
				out = append(out, e.At("spec")+"whoever answers for "+host+" is believed: name it in subjectAltNames")
			}
		}
	}
	return out
}
