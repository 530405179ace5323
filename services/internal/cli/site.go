package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dishmesh/dishmesh/services/internal/cluster"
	"github.com/dishmesh/dishmesh/services/internal/customer"
	"github.com/dishmesh/dishmesh/services/internal/platform"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
)

// siteFlags tell which platform a command talks to.
type siteFlags struct {
	data func() (string, error)
	url  string
	ca   string
}

func addSiteFlags(cmd *cobra.Command) *siteFlags {
	f := &siteFlags{data: addDataFlag(cmd)}
	cmd.Flags().StringVar(&f.url, "url", "", "address of the public API (default: of the platform that runs on the data folder)")
	cmd.Flags().StringVar(&f.ca, "ca", "", "certificate of the authority that an https address is trusted by (default: the cluster's in the data folder)")
	return f
}

// running is the platform that runs on the data folder.
func running(data string) (platform.RunInfo, error) {
	info, err := platform.ReadRunInfo(platform.Layout{Data: data})
	if errors.Is(err, fs.ErrNotExist) {
		return info, platform.ErrNotRunning
	}
	return info, err
}

// site resolves the flags. The platform may be starting or starting again: its customers wait for it.
func (f *siteFlags) site(patience time.Duration) (customer.Site, string, error) {
	data, err := f.data()
	if err != nil {
		return customer.Site{}, "", err
	}
	s := customer.Site{URL: f.url, Patience: patience}
	if f.ca != "" && !strings.HasPrefix(f.url, "https:") {
		return s, data, usageError("--ca is for an https address: give one with --url")
	}
	if f.url == "" {
		info, err := running(data)
		if err != nil {
			return s, data, err
		}
		s.URL = info.GatewayURL
		return s, data, nil
	}
	if u, err := url.Parse(f.url); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return s, data, usageError("--url %q is no address: give one such as http://127.0.0.1:8080", f.url)
	}
	ca := f.ca
	if own := clusterCA(data); ca == "" && strings.HasPrefix(f.url, "https:") && isFile(own) {
		ca = own
	}
	if s.HTTP, err = publicapi.Trusting(ca); err != nil {
		return s, data, &ExitError{Code: ExitUsage, Err: fmt.Errorf("--ca: %w", err)}
	}
	return s, data, nil
}

// clusterCA is where `dishmesh cluster up` keeps the certificate of the authority that signs the ingress's.
func clusterCA(data string) string { return filepath.Join(clusterFolder(data), "ca.pem") }

// clients is the folder below which the demo customers keep their accounts and what was acknowledged to them: the
// cluster's own for the cluster of a data folder, whose orders are not those of the platform on this machine.
func (f *siteFlags) clients(data string) string {
	if u, err := url.Parse(f.url); err == nil && u.Hostname() == cluster.Host {
		return clusterFolder(data)
	}
	return data
}

// clusterFolder is where a data folder keeps its cluster.
func clusterFolder(data string) string { return filepath.Join(data, "cluster") }

// clusterKubeconfig is how kubectl finds the cluster of a data folder.
func clusterKubeconfig(data string) string { return filepath.Join(clusterFolder(data), "kubeconfig") }

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// clientFile is a file of the demo customers.
func clientFile(data, name string) string { return filepath.Join(customer.Folder(data), name) }

func usageError(format string, args ...any) error {
	return &ExitError{Code: ExitUsage, Err: fmt.Errorf(format, args...)}
}
