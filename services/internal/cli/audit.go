package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dishmesh/dishmesh/services/analytics"
	"github.com/dishmesh/dishmesh/services/city"
	"github.com/dishmesh/dishmesh/services/delivery"
	"github.com/dishmesh/dishmesh/services/internal/audit"
	"github.com/dishmesh/dishmesh/services/internal/customer"
	"github.com/dishmesh/dishmesh/services/internal/kubectl"
	"github.com/dishmesh/dishmesh/services/internal/platform"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/notification"
	"github.com/dishmesh/dishmesh/services/order"
	"github.com/dishmesh/dishmesh/services/payment"
	"github.com/dishmesh/dishmesh/services/pricing"
	"github.com/dishmesh/dishmesh/services/restaurant"
)

func init() { register(newAudit) }

// exitUnreadable is the exit code of an audit that could not read what it needs.
const exitUnreadable = 2

// shownViolations is how many violations of an invariant people are shown; --json has them all.
const shownViolations = 20

func newAudit() *cobra.Command {
	var wait time.Duration
	var strict, asJSON, inCluster bool
	var kubeconfig string
	cmd := &cobra.Command{
		Use:     "audit",
		GroupID: groupCheck,
		Short:   "Check from the durable stores that nothing was lost, charged twice or forgotten",
		Long: `Reads the state stores of the services, the book of the card acquirer and what the customers wrote down, all without
asking any service, and checks:

  1  every acknowledged order exists and ends
  2  the money of every order is what its end allows: captured once when delivered, nothing kept or held otherwise
  3  the ledger sums to zero by event, by order and in all, and every head follows from its events
  4  a courier has one order at a time; a dead order holds no courier and no ticket
  5  event sequences have no gap and no duplicate, and every event was published
  6  no message vanishes: every consumer took it in, or it is with the dead letters, or on its way
  7  every notification that is owed was sent once, as the customer's preferences say
  8  the acquirer's book equals the ledger, and nobody was charged twice

The platform may be up or down; a cluster must be up (--cluster), and the stores are read through kubectl. An order that has not ended yet is in flight; it breaks invariant 1 when it has stood
still for 5 minutes, or when --wait is over, or with --strict. The same goes for a message that is on its way.

With --json the answer is one object: {ok, invariants [{id, name, ok, checked, unit, violations}], in_flight,
pending, orders {status: count}, notes}.
Exit codes: 0 all hold, 1 one is broken, 2 something can't be read, or a wrong flag.`,
		Example: `  dishmesh audit
  dishmesh audit --wait 1m
  dishmesh audit --cluster
  dishmesh audit --json | jq '.invariants[] | select(.ok | not)'`,
		Args: cobra.NoArgs,
	}
	data := addDataFlag(cmd)
	fl := cmd.Flags()
	fl.DurationVar(&wait, "wait", 0, "how long to wait for orders in flight to end")
	fl.BoolVar(&strict, "strict", false, "an order in flight is a violation")
	fl.BoolVar(&inCluster, "cluster", false, "the cluster of the data folder instead of what runs on this machine")
	fl.StringVar(&kubeconfig, "kubeconfig", "", "any cluster by its kubeconfig; the customers' orders are still those of the data folder")
	fl.BoolVar(&asJSON, "json", false, "print JSON instead")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if wait < 0 {
			return usageError("--wait must not be negative")
		}
		dir, err := data()
		if err != nil {
			return &ExitError{Code: exitUnreadable, Err: err}
		}
		var cfg audit.Config
		var done func()
		if inCluster || kubeconfig != "" {
			if kubeconfig == "" {
				kubeconfig = clusterKubeconfig(dir)
			}
			if !isFile(kubeconfig) {
				return &ExitError{Code: exitUnreadable, Err: fmt.Errorf("there is no kubeconfig %s: start a cluster with `dishmesh cluster up`, or name one with --kubeconfig", kubeconfig)}
			}
			cfg, done, err = clusterAuditConfig(cmd.Context(), dir, kubectl.Cluster{Kubeconfig: kubeconfig})
		} else {
			cfg, done, err = auditConfig(cmd.Context(), dir)
		}
		defer done()
		if err != nil {
			return &ExitError{Code: exitUnreadable, Err: err}
		}
		cfg.Wait, cfg.Strict = wait, strict
		if errOut := cmd.ErrOrStderr(); isTerminal(errOut) {
			cfg.Progress = func(n int) { fmt.Fprintf(errOut, "\rwaiting for %s to end …   ", things(n, "orders")) }
			defer fmt.Fprint(errOut, "\r\x1b[K")
		}
		report, err := audit.Run(cmd.Context(), cfg)
		switch {
		case errors.Is(err, audit.ErrNoStore):
			return &ExitError{Code: exitUnreadable, Err: fmt.Errorf("%w: start the platform with `dishmesh up`, or name its data folder with --data", err)}
		case err != nil:
			return &ExitError{Code: exitUnreadable, Err: fmt.Errorf("the audit could not read everything: %w", err)}
		case asJSON:
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			err = enc.Encode(report)
		default:
			printAudit(cmd.OutOrStdout(), report)
		}
		if err == nil && !report.OK {
			err = &ExitError{Code: ExitFailed}
		}
		return err
	}
	return cmd
}

// auditConfig says where a data folder keeps what is audited. done must be called at the end, also after an error.
func auditConfig(ctx context.Context, dir string) (cfg audit.Config, done func(), err error) {
	layout := platform.Layout{Data: dir}
	stores, done, err := auditStores(ctx, layout)
	return auditOf(stores, layout, layout.City()), done, err
}

// auditOf is an audit of stores, of the customers of a data folder, and of what the outside world received, in files.
func auditOf(stores audit.Stores, layout platform.Layout, files string) audit.Config {
	return audit.Config{
		Stores:  stores,
		Book:    filepath.Join(files, city.BookFile),
		Journal: filepath.Join(customer.Folder(layout.Data), customer.JournalFile),
		Streams: audit.Streams{
			Order:    audit.Stream{App: "order", Name: "order", Replay: order.Replay},
			Payment:  audit.Stream{App: "payment", Name: "payment", Replay: payment.Replay},
			Ticket:   audit.Stream{App: "restaurant", Name: "ticket", Replay: restaurant.Replay},
			Delivery: audit.Stream{App: "delivery", Name: "delivery", Replay: delivery.Replay},
			Others:   []audit.Stream{{App: "user", Name: "user"}, {App: "menu", Name: "menu"}, {App: "pricing", Name: "pricing"}},
		},
		Subscriptions: auditSubscriptions(),
		Notices: audit.Notices{
			App: notification.Name, Channels: notification.Channels, Journals: cityJournals(files),
		},
	}
}

// auditSubscriptions are the subscriptions of the services as their code declares them. Those of the gateway are live
// and keep nothing.
func auditSubscriptions() []audit.Subscription {
	var all []audit.Subscription
	for app, subs := range consumers() {
		for _, sub := range subs {
			all = append(all, audit.Subscription{App: app, Stream: sub.StreamName(), Types: sub.Types})
		}
	}
	slices.SortFunc(all, func(a, b audit.Subscription) int {
		return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Stream, b.Stream))
	})
	return all
}

// consumers are the subscriptions of the services that keep what they hear.
func consumers() map[string][]topic.Subscription {
	return map[string][]topic.Subscription{
		analytics.Name: new(analytics.Service).Subscriptions(), notification.Name: new(notification.Service).Subscriptions(),
		"delivery": new(delivery.Service).Subscriptions(), "order": new(order.Service).Subscriptions(),
		"payment": new(payment.Service).Subscriptions(), "pricing": new(pricing.Service).Subscriptions(),
	}
}

func printAudit(w io.Writer, r audit.Report) {
	p := newPalette(w)
	width := 0
	for _, v := range r.Invariants {
		width = max(width, len(v.Name))
	}
	for _, v := range r.Invariants {
		mark, verdict := p.good.Render("✓"), p.dim.Render(things(v.Checked, v.Unit))
		if !v.OK {
			mark, verdict = p.bad.Render("✗"), p.bad.Render(things(len(v.Violations), "violations"))+p.dim.Render(" in "+things(v.Checked, v.Unit))
		}
		fmt.Fprintf(w, "%s %d  %-*s  %s\n", mark, v.ID, width, v.Name, verdict)
		for _, violation := range v.Violations[:min(len(v.Violations), shownViolations)] {
			fmt.Fprintf(w, "       %s\n", violation)
		}
		if more := len(v.Violations) - shownViolations; more > 0 {
			fmt.Fprintf(w, "       … and %d more, see --json\n", more)
		}
	}
	fmt.Fprintln(w)
	statuses := []string{}
	for status := range r.Orders {
		statuses = append(statuses, status)
	}
	slices.Sort(statuses)
	total := 0
	for i, status := range statuses {
		total += r.Orders[status]
		statuses[i] = fmt.Sprintf("%d %s", r.Orders[status], strings.ReplaceAll(status, "_", " "))
	}
	line := things(total, "orders")
	if len(statuses) > 0 {
		line += ": " + strings.Join(statuses, ", ")
	}
	if r.InFlight > 0 {
		line += fmt.Sprintf("; %d in flight", r.InFlight)
	}
	fmt.Fprintln(w, line)
	for _, note := range r.Notes[:min(len(r.Notes), shownViolations)] {
		fmt.Fprintf(w, "note: %s\n", note)
	}
	if more := len(r.Notes) - shownViolations; more > 0 {
		fmt.Fprintf(w, "… and %d more notes, see --json\n", more)
	}
	if r.OK {
		fmt.Fprintln(w, p.good.Render("all invariants hold"))
	} else {
		fmt.Fprintln(w, p.bad.Render("the audit is red"))
	}
}

// things counts in words: "1 order", "3 orders".
func things(n int, plural string) string {
	if n == 1 {
		if plural == "deliveries and tickets" {
			return "1 delivery or ticket"
		}
		return "1 " + strings.TrimSuffix(plural, "s")
	}
	return fmt.Sprintf("%d %s", n, plural)
}
