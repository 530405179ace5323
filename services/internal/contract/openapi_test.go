package contract_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// The public API is checked by oasdiff, of the version that .ci/tools pins. releasedAPI is the document of the last
// release: who wrote a client for it must be served as before.
const (
	currentAPI  = top + "/services/openapi.yaml"
	releasedAPI = "released.openapi.yaml"
)

// breaking gives what clients of a document would miss in another, "" for nothing: what oasdiff finds, and who may call,
// which is an extension that no tool knows.
func breaking(t *testing.T, program, before, after string) string {
	t.Helper()
	said := run(t, program, ".", "breaking", "--fail-on", "WARN", "--format", "singleline", "--color", "never", "--allow-external-refs=false", before, after)
	var lost []string
	now := roles(t, after)
	for operation, had := range roles(t, before) {
		has, there := now[operation]
		if !there || len(has) == 0 { // gone, which oasdiff says, or open to everybody
			continue
		}
		if len(had) == 0 {
			lost = append(lost, operation+" is no longer for everybody\n")
		}
		for _, role := range had {
			if !slices.Contains(has, role) {
				lost = append(lost, operation+" is no longer for "+role+"\n")
			}
		}
	}
	slices.Sort(lost)
	return said + strings.Join(lost, "")
}

// roles reads who may call each operation; none: everybody.
func roles(t *testing.T, file string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			Roles []string `yaml:"x-roles"`
		}
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	all := map[string][]string{}
	for path, methods := range doc.Paths {
		for method, o := range methods {
			all[strings.ToUpper(method)+" "+path] = o.Roles
		}
	}
	return all
}

func TestPublicAPI(t *testing.T) {
	if said := breaking(t, pinned(t, "oasdiff"), releasedAPI, currentAPI); said != "" {
		t.Errorf("services/openapi.yaml against the last release:\n%s", said)
	}
}

// Deliberate breaks, one for each way in which a client of yesterday would be lost, and what may change at any time.
func TestBreaksOfThePublicAPIAreFound(t *testing.T) {
	program := pinned(t, "oasdiff")
	text, err := os.ReadFile(releasedAPI)
	if err != nil {
		t.Fatal(err)
	}
	const (
		registration = "required: [email, name, password]\n      properties:\n"
		tokens       = "required: [access_token, expires_in, refresh_token, token_type, user]\n      properties:\n"
		keyHeader    = "        - name: Idempotency-Key\n          in: header\n          description: New for each intent, the same for its retries.\n          required: true\n"
	)
	for _, tt := range []struct{ name, old, new, want string }{
		{"a path is gone", "\n  /v1/tokens:\n", "\n  /v1/passes:\n", "POST /v1/tokens"},
		{"another method", "\n  /v1/tokens:\n    post:\n", "\n  /v1/tokens:\n    put:\n", "POST /v1/tokens"},
		{"a request needs more", registration, "required: [email, name, password, phone]\n      properties:\n", "phone"},
		{"a request may have less", "        restaurant_id:\n          type: [string, \"null\"]\n          maxLength: 64\n      additionalProperties: false\n    Restaurant:\n",
			"      additionalProperties: false\n    Restaurant:\n", "restaurant_id"},
		{"a bound is narrower", "          format: email\n          maxLength: 254\n", "          format: email\n          maxLength: 100\n", "max"},
		{"a value is gone", "            - kitchen\n            - courier\n            - operator\n            - \"\"\n", "            - kitchen\n            - operator\n            - \"\"\n", "courier"},
		{"a header is needed", "      operationId: logIn\n", "      operationId: logIn\n      parameters:\n" + keyHeader + "          schema: {type: string}\n", "new-required-request-parameter"},
		{"a member of an answer is gone", tokens + "        access_token:\n          type: string\n", "required: [expires_in, refresh_token, token_type, user]\n      properties:\n", "access_token"},
		{"a member of an answer has another type", "        expires_in:\n          type: integer\n          format: int64\n", "        expires_in:\n          type: string\n", "expires_in"},
		{"an account is needed", "      operationId: logIn\n", "      operationId: logIn\n      x-roles: [operator]\n", "POST /v1/tokens is no longer for everybody"},
		{"a role may no more", "      x-roles: [customer, kitchen, courier, operator]\n", "      x-roles: [customer, kitchen, operator]\n", "is no longer for courier"},
		{"nothing, an answer has more", tokens, tokens + "        scope:\n          type: string\n", ""},
		{"nothing, a request may have more", registration, registration + "        nickname:\n          type: string\n", ""},
		{"nothing, a path is new", "\n  /v1/tokens:\n", "\n  /v1/passes:\n    get:\n      operationId: passes\n      responses:\n        \"204\":\n          description: None.\n  /v1/tokens:\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(string(text), tt.old) {
				t.Fatalf("%q is not in the document", tt.old)
			}
			edited := filepath.Join(t.TempDir(), "openapi.yaml")
			if err := os.WriteFile(edited, []byte(strings.Replace(string(text), tt.old, tt.new, 1)), 0o644); err != nil {
				t.Fatal(err)
			}
			said := breaking(t, program, releasedAPI, edited)
			if tt.want == "" && said != "" || !strings.Contains(said, tt.want) {
				t.Errorf("it says %q, want %q in it", said, tt.want)
			}
		})
	}
}
