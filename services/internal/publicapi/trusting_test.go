package publicapi_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/publicapi"
)

// authority is a certificate authority of its own, as a cluster has one.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // of its certificate
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	a := authority{t: t, file: filepath.Join(t.TempDir(), "ca.pem")}
	a.cert, a.key = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// sign completes a certificate; the first is the authority's own.
func (a authority) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	by, signer := a.cert, a.key
	if by == nil {
		by, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return made, key
}

// serve runs a server under a name that the authority vouches for, and gives its port.
func (a authority) serve(name string) (port string) {
	a.t.Helper()
	cert, key := a.sign(&x509.Certificate{DNSNames: []string{name}})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that must fail
	s.StartTLS()
	a.t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		a.t.Fatal(err)
	}
	return u.Port()
}

// A platform's own authority is trusted beside those of the machine, and for the names that it vouches for only.
func TestTrusting(t *testing.T) {
	own, foreign := newAuthority(t, "own"), newAuthority(t, "foreign")
	port := own.serve("dishmesh.localhost")
	for _, tt := range []struct {
		name, file, host string
		want             func(error) bool
	}{
		{"its authority", own.file, "dishmesh.localhost", func(err error) bool { return err == nil }},
		{"those of the machine", "", "dishmesh.localhost", unknown},
		{"another authority", foreign.file, "dishmesh.localhost", unknown},
		{"another name", own.file, "localhost", func(err error) bool { return errors.As(err, &x509.HostnameError{}) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hc, err := publicapi.Trusting(tt.file)
			if err != nil {
				t.Fatal(err)
			}
			defer hc.CloseIdleConnections()
			resp, err := hc.Get("https://" + tt.host + ":" + port)
			if err == nil {
				resp.Body.Close()
			}
			if !tt.want(err) {
				t.Errorf("got %v", err)
			}
		})
	}
	want, err := x509.SystemCertPool()
	if err != nil {
		want = x509.NewCertPool()
	}
	want.AddCert(own.cert)
	hc, err := publicapi.Trusting(own.file)
	if err != nil {
		t.Fatal(err)
	}
	if !hc.Transport.(*http.Transport).TLSClientConfig.RootCAs.Equal(want) {
		t.Error("who is trusted is not the machine's authorities and the one of the file")
	}
}

func unknown(err error) bool { return errors.As(err, &x509.UnknownAuthorityError{}) }

func TestTrustingFaults(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		filepath.Join(dir, "none.pem"): "certificate authority: open",
		empty:                          "certificate authority: " + empty + " holds no certificate in PEM form",
	} {
		if _, err := publicapi.Trusting(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", file, err, want)
		}
	}
}
