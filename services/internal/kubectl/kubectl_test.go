package kubectl_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dishmesh/dishmesh/services/internal/kubectl"
)

// cluster is one whose kubectl is a script.
func cluster(t *testing.T, script string) kubectl.Cluster {
	t.Helper()
	program := filepath.Join(t.TempDir(), "kubectl")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return kubectl.Cluster{Program: program, Kubeconfig: "/etc/k", Context: "c"}
}

func TestSecret(t *testing.T) {
	got, err := cluster(t, `[ "$*" = '--kubeconfig /etc/k --context c -n data get secret users -o go-template={{index .data "admin"}}' ] && printf 'cm9vdA=='`).
		Secret(t.Context(), "data", "users", "admin")
	if err != nil || got != "root" {
		t.Errorf("got %q, %v", got, err)
	}
	for script, want := range map[string]string{
		`echo "no such thing" >&2; exit 1`: "kubectl: no such thing",
		`printf '<no value>'`:              "has no key admin",
	} {
		if _, err := cluster(t, script).Secret(t.Context(), "data", "users", "admin"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", script, err, want)
		}
	}
}

func TestExec(t *testing.T) {
	var out bytes.Buffer
	if err := cluster(t, `shift 4; echo "$*"`).Exec(t.Context(), &out, "city", "city-0", "/dishmesh", "city"); err != nil || out.String() != "-n city exec city-0 -- /dishmesh city\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

func TestForward(t *testing.T) {
	addr, stop, err := cluster(t, `echo "Forwarding from 127.0.0.1:4711 -> 5432"; exec sleep 60`).Forward(t.Context(), "data", "svc/postgres", 5432)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if addr != "127.0.0.1:4711" {
		t.Errorf("got %s", addr)
	}
	_, _, err = cluster(t, `echo 'services "postgres" not found' >&2; exit 1`).Forward(t.Context(), "data", "svc/postgres", 5432)
	if err == nil || !strings.Contains(err.Error(), `services "postgres" not found`) {
		t.Errorf("no such service: %v", err)
	}
	_, _, err = kubectl.Cluster{Program: "no-such-kubectl"}.Forward(t.Context(), "data", "svc/postgres", 5432)
	if err == nil || !strings.Contains(err.Error(), "install it") {
		t.Errorf("no kubectl: %v", err)
	}
}
