package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"slices"
	"time"
)

// The local authority is good for ten years and for names of this machine and this cluster only: who trusts it in a
// browser trusts it for nothing else. The ingress's certificate is short and made anew well before it ends.
const (
	caLife      = 10 * 365 * 24 * time.Hour
	ingressLife = 90 * 24 * time.Hour
	renewBefore = 30 * 24 * time.Hour
)

// ingressName is the ingress's name inside the cluster, which the city calls.
const ingressName = "ingress." + NamespaceIngress + ".svc.cluster.local"

// ingressNames are what the ingress answers to.
func ingressNames() ([]string, []net.IP) {
	return []string{"localhost", "dishmesh.localhost", ingressName}, []net.IP{net.IPv4(127, 0, 0, 1).To4(), net.IPv6loopback}
}

// certificate is a certificate with its key, both also as PEM.
type certificate struct {
	cert            *x509.Certificate
	key             *ecdsa.PrivateKey
	certPEM, keyPEM []byte
}

// ensureCertificates reads the authority and the ingress's certificate from the data folder and makes what is missing,
// near its end, or no longer right. did says what was made.
func (l Layout) ensureCertificates(now time.Time) (ca, ingress certificate, did string, err error) {
	ca, err = readCertificate(l.CA(), l.caKey())
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && now.Add(renewBefore).After(ca.cert.NotAfter):
		if ca, err = newCA(now); err != nil {
			return ca, ingress, "", err
		}
		if err = ca.write(l.CA(), l.caKey()); err != nil {
			return ca, ingress, "", err
		}
		did = "made a local authority and a certificate"
	case err != nil:
		return ca, ingress, "", fmt.Errorf("%w: remove both to have new ones made", err)
	}
	ingress, err = readCertificate(l.ingressCert(), l.ingressKey())
	if err == nil && ingress.good(ca, now) {
		return ca, ingress, did, nil
	}
	if did == "" {
		did = "renewed the certificate"
	}
	if ingress, err = newIngress(ca, now); err != nil {
		return ca, ingress, "", err
	}
	return ca, ingress, did, ingress.write(l.ingressCert(), l.ingressKey())
}

// good reports whether a certificate is signed by the authority, names all that it must, and lasts for a while.
func (c certificate) good(ca certificate, now time.Time) bool {
	names, ips := ingressNames()
	return c.cert.CheckSignatureFrom(ca.cert) == nil && now.Add(renewBefore).Before(c.cert.NotAfter) && now.After(c.cert.NotBefore) &&
		slices.Equal(c.cert.DNSNames, names) && slices.EqualFunc(c.cert.IPAddresses, ips, net.IP.Equal)
}

func newCA(now time.Time) (certificate, error) {
	_, loopback4, _ := net.ParseCIDR("127.0.0.0/8") // constants
	_, loopback6, _ := net.ParseCIDR("::1/128")
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "Dishmesh local CA " + now.UTC().Format("2006-01-02 15:04:05"), Organization: []string{"Dishmesh on this machine"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		// RFC 5280, 4.2.1.10: names outside these make a certificate of it worthless.
		PermittedDNSDomainsCritical: true, PermittedDNSDomains: []string{"localhost", "svc.cluster.local"},
		PermittedIPRanges: []*net.IPNet{loopback4, loopback6},
	}
	return sign(template, nil)
}

func newIngress(ca certificate, now time.Time) (certificate, error) {
	names, ips := ingressNames()
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "Dishmesh ingress"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(ingressLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: names, IPAddresses: ips,
	}
	return sign(template, &ca)
}

// sign makes a key and its certificate, by the authority or, without one, by itself.
func sign(template *x509.Certificate, ca *certificate) (certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificate{}, fmt.Errorf("make a key: %w", err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return certificate{}, fmt.Errorf("make a serial number: %w", err)
	}
	parent, signer := template, key
	if ca != nil {
		parent, signer = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return certificate{}, fmt.Errorf("make a certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return certificate{}, fmt.Errorf("read the certificate just made: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return certificate{}, fmt.Errorf("encode a key: %w", err)
	}
	return certificate{cert: cert, key: key,
		certPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		keyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})}, nil
}

func readCertificate(certFile, keyFile string) (certificate, error) {
	var c certificate
	var err error
	if c.certPEM, err = os.ReadFile(certFile); err != nil {
		return c, err
	}
	if c.keyPEM, err = os.ReadFile(keyFile); err != nil {
		return c, err
	}
	certBlock, _ := pem.Decode(c.certPEM)
	keyBlock, _ := pem.Decode(c.keyPEM)
	if certBlock == nil || keyBlock == nil {
		return c, fmt.Errorf("%s and %s are no certificate and key", certFile, keyFile)
	}
	if c.cert, err = x509.ParseCertificate(certBlock.Bytes); err != nil {
		return c, fmt.Errorf("%s is no certificate: %w", certFile, err)
	}
	key, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return c, fmt.Errorf("%s is no key: %w", keyFile, err)
	}
	var ok bool
	if c.key, ok = key.(*ecdsa.PrivateKey); !ok || !c.key.PublicKey.Equal(c.cert.PublicKey) {
		return c, fmt.Errorf("%s is not the key of %s", keyFile, certFile)
	}
	return c, nil
}

// write puts the key first: a certificate without its key would be taken for a whole pair that is broken.
func (c certificate) write(certFile, keyFile string) error {
	if err := os.WriteFile(keyFile, c.keyPEM, 0o600); err != nil {
		return fmt.Errorf("write a key: %w", err)
	}
	if err := os.WriteFile(certFile, c.certPEM, 0o644); err != nil {
		return fmt.Errorf("write a certificate: %w", err)
	}
	return nil
}
