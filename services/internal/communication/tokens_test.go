package communication_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// jwtRule is what the edge asks of a token.
type jwtRule struct {
	Issuer    string
	Audiences []string
	JWKS      string                          `yaml:"jwks"`
	JWKSURI   string                          `yaml:"jwksUri"`
	From      []struct{ Name, Prefix string } `yaml:"fromHeaders"`
	Forward   bool                            `yaml:"forwardOriginalToken"`
}

// TestEdgeTakesTheTokensOfTheUserService holds what the edge asks of a token against what the user service writes into it,
// and the address of the keys against the gateway's public API. On a cluster nobody has a key of the user service to sign
// a token for another API with, so this is where it is seen that both sides mean the same.
func TestEdgeTakesTheTokensOfTheUserService(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(top, "mesh/ingress/tokens.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Kind string
		Spec struct {
			Selector struct {
				MatchLabels map[string]string `yaml:"matchLabels"`
			}
			Rules []jwtRule `yaml:"jwtRules"`
		}
	}
	if err := yaml.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	want := []jwtRule{{
		Issuer: userapi.Issuer, Audiences: []string{userapi.Audience},
		JWKSURI: fmt.Sprintf("http://%s.%s.svc.cluster.local:%d%s", communication.Gateway, communication.Namespace, communication.PublicPort, userapi.KeySetPath),
		From:    []struct{ Name, Prefix string }{{"Authorization", "Bearer "}},
		Forward: true, // the gateway verifies again
	}}
	if diff := cmp.Diff(want, r.Spec.Rules); diff != "" {
		t.Errorf("what is asked of a token (-want +got):\n%s", diff)
	}
	if r.Kind != "RequestAuthentication" || !cmp.Equal(r.Spec.Selector.MatchLabels, map[string]string{"istio": "ingress"}) {
		t.Errorf("it is a %s for the pods with %v", r.Kind, r.Spec.Selector.MatchLabels)
	}
	// Who asks for the keys has no token yet.
	keys := communication.Request{Method: "GET", Path: userapi.KeySetPath}
	for _, open := range communication.WithoutToken() {
		if open == keys {
			return
		}
	}
	t.Errorf("%v needs a token", keys)
}
