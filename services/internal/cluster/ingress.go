package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"
)

// ingressPatience is how long the ingress may take once every pod is ready: its proxy gets its routes a moment later.
const ingressPatience = 2 * time.Minute

// Client is a client of the platform in the cluster that trusts the local authority and nobody else.
func (l Layout) Client() (*http.Client, error) {
	b, err := os.ReadFile(l.CA())
	if err != nil {
		return nil, fmt.Errorf("the certificate of the local authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s is no certificate", l.CA())
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // it is this machine
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}, nil
}

// waitIngress asks the platform for its restaurants, as a customer would.
func (c *Cluster) waitIngress(ctx context.Context) error {
	client, err := c.files.Client()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeoutCause(ctx, ingressPatience, errors.New("the ingress gave no good answer"))
	defer cancel()
	var last error
	for {
		if last = c.askIngress(ctx, client); last == nil {
			return nil
		}
		c.report.Progress("the ingress: " + last.Error())
		if err := pause(ctx, time.Second); err != nil {
			return fmt.Errorf("%w for %s: %w", err, ingressPatience, last)
		}
	}
}

func (c *Cluster) askIngress(ctx context.Context, client *http.Client) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL()+"/v1/restaurants", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", r.URL, resp.Status)
	}
	return nil
}
