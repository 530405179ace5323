package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/publicapi"
)

// ingressPatience is how long the ingress may take once every pod is ready: its proxy gets its routes a moment later.
const ingressPatience = 2 * time.Minute

// waitIngress asks the platform for its restaurants, as a customer would.
func (c *Cluster) waitIngress(ctx context.Context) error {
	client, err := publicapi.Trusting(c.files.CA())
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
