package cluster

import (
	"bytes"
	"crypto/x509"
	"os"
	"strings"
	"testing"
	"time"
)

func TestCertificates(t *testing.T) {
	l := Layout{Dir: t.TempDir()}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	ca, first, did, err := l.ensureCertificates(now)
	if err != nil || did == "" {
		t.Fatalf("did %q, error %v", did, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca.certPEM) {
		t.Fatal("the authority is no PEM")
	}
	for _, name := range []string{"localhost", "dishmesh.localhost", "127.0.0.1", ingressName} {
		if _, err := first.cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, file := range []string{l.caKey(), l.ingressKey()} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", file, info.Mode(), err)
		}
	}

	for _, c := range []struct {
		name    string
		after   time.Duration
		renewed bool
	}{{"an hour later", time.Hour, false}, {"well before its end", ingressLife - renewBefore - time.Hour, false}, {"near its end", ingressLife - renewBefore + time.Hour, true}} {
		ca2, second, did, err := l.ensureCertificates(now.Add(c.after))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(ca.certPEM, ca2.certPEM) {
			t.Errorf("%s: another authority", c.name)
		}
		if renewed := !bytes.Equal(first.certPEM, second.certPEM); renewed != c.renewed || (did != "") != c.renewed {
			t.Errorf("%s: renewed %t, did %q; want renewed %t", c.name, renewed, did, c.renewed)
		}
	}
}

// A certificate of the authority for any other name is refused, so that trusting it is harmless.
func TestAuthorityIsConstrained(t *testing.T) {
	now := time.Now()
	ca, err := newCA(now)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"example.com", "localhost.example.com", "10.0.0.1"} {
		template := &x509.Certificate{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), DNSNames: []string{name}}
		leaf, err := sign(template, &ca)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AddCert(ca.cert)
		if _, err := leaf.cert.Verify(x509.VerifyOptions{Roots: roots}); err == nil {
			t.Errorf("a certificate for %s is accepted", name)
		}
	}
}

func TestBrokenCertificates(t *testing.T) {
	for _, c := range []struct{ name, cert, key, want string }{
		{"no PEM", "x", "y", "are no certificate and key: remove both to have new ones made"},
		{"the key of another", "", "other", "is not the key of"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := Layout{Dir: t.TempDir()}
			if _, _, _, err := l.ensureCertificates(time.Now()); err != nil {
				t.Fatal(err)
			}
			key := []byte(c.key)
			if c.key == "other" {
				other, err := newCA(time.Now())
				if err != nil {
					t.Fatal(err)
				}
				key = other.keyPEM
			}
			if c.cert != "" {
				write(t, l.CA(), []byte(c.cert))
			}
			write(t, l.caKey(), key)
			_, _, _, err := l.ensureCertificates(time.Now())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func write(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
