package cli

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/dishmesh/dishmesh/services/internal/probe"
)

func init() { register(newProbe) }

func newProbe() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "probe",
		GroupID: groupCheck,
		Short:   "Make calls from where this runs and print what came of them as JSON",
		Long: `Shows what the network and the mesh let through. The images of the services have no shell; in a cluster this runs
beside a service, in its place and with its account:

  kubectl debug -n dishmesh POD --image dishmesh/dishmesh:dev --profile restricted -c probe -- /dishmesh probe wait
  kubectl exec -n dishmesh POD -c probe -- /dishmesh probe call http://pricing:8080/healthz`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newProbeCall(), newProbeEach(), newProbeServe(), newProbeWait())
	return cmd
}

// probeFlags are those of all calls.
type probeFlags struct {
	timeout            time.Duration
	fresh, insecure    bool
	ca, cert, key, sni string
	head               int64
}

func (f *probeFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.DurationVar(&f.timeout, "timeout", 5*time.Second, "how long one call may take")
	fl.BoolVar(&f.fresh, "fresh", false, "a new connection for every call")
	fl.BoolVar(&f.insecure, "insecure", false, "take any certificate")
	fl.StringVar(&f.ca, "ca", "", "file of the authorities to trust (default: those of the system)")
	fl.StringVar(&f.cert, "cert", "", "file of a client certificate, with --key")
	fl.StringVar(&f.key, "key", "", "file of its key")
	fl.Int64Var(&f.head, "body-head", probe.BodyHead, "how many bytes of an answer are shown")
	fl.StringVar(&f.sni, "server-name", "", "name that the server is asked for and has to prove")
}

func (f *probeFlags) caller() (*probe.Caller, error) {
	if f.timeout <= 0 {
		return nil, usageError("--timeout must be more than 0")
	}
	if f.head < 1 {
		return nil, usageError("--body-head must be at least 1")
	}
	if (f.cert == "") != (f.key == "") {
		return nil, usageError("--cert and --key are given together")
	}
	conf := &tls.Config{InsecureSkipVerify: f.insecure, ServerName: f.sni} //nolint:gosec // asked for by a flag
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, usageError("--ca: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usageError("--ca %s: there is no certificate in it", f.ca)
		}
	}
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, usageError("--cert: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return probe.NewCaller(probe.Settings{Timeout: f.timeout, Fresh: f.fresh, TLS: conf, BodyHead: f.head}), nil
}

func newProbeCall() *cobra.Command {
	var f probeFlags
	var plan probe.Plan
	var headers []string
	var method, body string
	var lasts time.Duration
	var untilEOF bool
	cmd := &cobra.Command{
		Use:   "call URL",
		Short: "Call one address, once or many times",
		Long: `Calls an address (http, https, or tcp://host:port, which is only connected to) and prints one JSON object: the answer
{url, method, status, failure, detail, ms, header, body}, or with --count, --for or --until-eof a summary
{calls, seconds, statuses, failures, tally, latency_ms {p50, p90, p99, max}, bad, problems}.
failure is one of timeout, refused, reset, closed, unreachable, name, tls, other, and the status is 0 then.
Exit code 0 whatever came back: the answer is what was asked for.`,
		Example: `  dishmesh probe call --method POST --body '{}' -H 'dapr-app-id: pricing' http://127.0.0.1:3500/v1/quotes
  dishmesh probe call --count 400 --tally Dishmesh-Version http://pricing:8080/v1/quotes
  dishmesh probe call tcp://postgres.dishmesh-data:5432`,
		Args: cobra.ExactArgs(1),
	}
	f.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&method, "method", "", "method of the request (default GET)")
	fl.StringArrayVarP(&headers, "header", "H", nil, "header as name: value; can be given again")
	fl.StringVar(&body, "body", "", "body of the request")
	fl.IntVar(&plan.Count, "count", 0, "how many calls to make")
	fl.IntVar(&plan.AtOnce, "concurrency", 1, "how many at once")
	fl.Float64Var(&plan.Rate, "rate", 0, "calls per second at most; 0: as fast as they come back")
	fl.StringVar(&plan.Tally, "tally", "", "header of the answers whose values are counted")
	fl.DurationVar(&lasts, "for", 0, "go on calling for so long")
	fl.BoolVar(&untilEOF, "until-eof", false, "go on calling until standard input ends")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r := probe.Request{URL: args[0], Method: method, Body: body, Header: map[string]string{}}
		if err := r.Check(); err != nil {
			return usageError("%w", err)
		}
		for _, h := range headers {
			name, value, ok := strings.Cut(h, ":")
			if !ok || strings.TrimSpace(name) == "" {
				return usageError("--header %q: give it as name: value", h)
			}
			r.Header[http.CanonicalHeaderKey(strings.TrimSpace(name))] = strings.TrimSpace(value)
		}
		if plan.Count < 0 || plan.AtOnce < 1 || plan.Rate < 0 || lasts < 0 {
			return usageError("--count, --rate and --for must not be negative, and --concurrency at least 1")
		}
		plan.Tally = http.CanonicalHeaderKey(plan.Tally)
		c, err := f.caller()
		if err != nil {
			return err
		}
		out := json.NewEncoder(cmd.OutOrStdout())
		if plan.Count == 0 && lasts == 0 && !untilEOF {
			return out.Encode(c.Do(cmd.Context(), r))
		}
		ctx, cancel := context.WithCancel(cmd.Context())
		defer cancel()
		if lasts > 0 {
			ctx, cancel = context.WithTimeout(ctx, lasts)
			defer cancel()
		}
		if untilEOF {
			go func() {
				_, _ = io.Copy(io.Discard, cmd.InOrStdin()) // however it ends, it has ended
				cancel()
			}()
		}
		plan.Requests = []probe.Request{r}
		return out.Encode(c.Many(ctx, plan))
	}
	return cmd
}

func newProbeEach() *cobra.Command {
	var f probeFlags
	var atOnce int
	cmd := &cobra.Command{
		Use:   "each",
		Short: "Call each address that standard input names",
		Long: `Reads requests from standard input, one JSON object {url, method, header, body} a line, makes the calls, and prints an
answer a line in the same order, as "probe call" does.`,
		Args: cobra.NoArgs,
	}
	f.add(cmd)
	cmd.Flags().IntVar(&atOnce, "concurrency", 1, "how many calls at once")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if atOnce < 1 {
			return usageError("--concurrency must be at least 1")
		}
		c, err := f.caller()
		if err != nil {
			return err
		}
		requests, err := readRequests(cmd.InOrStdin())
		if err != nil {
			return err
		}
		answers := make([]probe.Answer, len(requests))
		var calls errgroup.Group
		calls.SetLimit(atOnce)
		for i, r := range requests {
			calls.Go(func() error {
				answers[i] = c.Do(cmd.Context(), r)
				return nil
			})
		}
		_ = calls.Wait() // no call gives an error: what came of it is in its answer
		out := json.NewEncoder(cmd.OutOrStdout())
		for _, a := range answers {
			if err := out.Encode(a); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

// readRequests reads a request a line.
func readRequests(r io.Reader) ([]probe.Request, error) {
	var requests []probe.Request
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for line := 1; in.Scan(); line++ {
		var r probe.Request
		err := json.Unmarshal(in.Bytes(), &r)
		if err == nil {
			err = r.Check()
		}
		if err != nil {
			return nil, usageError("line %d: %w", line, err)
		}
		requests = append(requests, r)
	}
	return requests, in.Err()
}

func newProbeServe() *cobra.Command {
	var addr, name string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Answer every request with what it says",
		Long:  "An HTTP server that answers with {name, method, path, header, remote} of the request, until it is stopped.",
		Args:  cobra.NoArgs,
	}
	cmd.Flags().StringVar(&addr, "addr", ":8080", "address to listen on")
	cmd.Flags().StringVar(&name, "name", "echo", "name in the answers")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		server := &http.Server{Addr: addr, Handler: probe.NewEcho(name), ReadHeaderTimeout: 5 * time.Second}
		stop := context.AfterFunc(cmd.Context(), func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			_ = server.Shutdown(ctx) // it ends anyway
		})
		defer stop()
		if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("--addr %s: %w", addr, err)
		}
		return nil
	}
	return cmd
}

func newProbeWait() *cobra.Command {
	return &cobra.Command{
		Use:   "wait",
		Short: "Do nothing until it is stopped, so that there is a place to run the others in",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			<-cmd.Context().Done()
			return nil
		},
	}
}
