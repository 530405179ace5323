package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/deadletter"
	"github.com/dishmesh/dishmesh/services/internal/platform"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
)

func init() { register(newDLQ) }

func newDLQ() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "dlq",
		GroupID: groupCheck,
		Short:   "Look at dead letters, edit, replay and drop them",
		Long: `An event that an app could not take in after its retries, or that no retry can help, is kept by that app as a dead letter.
These commands work through the operators' part of the public API, /v1/dead-letters, with the operator's account of the
data folder. Who did what is kept: see dishmesh dlq audit.

A replay gives the event to the same handler as before. Handlers are idempotent: replaying what was taken in meanwhile
does no harm.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDLQList(), newDLQShow(), newDLQEdit(), newDLQAct(deadletter.ActionReplay), newDLQAct(deadletter.ActionDrop), newDLQAudit())
	return cmd
}

// exitDLQ is the part of the help on exit codes that the commands share.
const exitDLQ = "Exit codes: 0 done, 1 it failed, or an app did not answer, 2 wrong flag or argument, 3 no platform is running, 130 interrupted."

// letterFilter is the flags that choose letters.
type letterFilter struct{ app, topic, kind, subject, cause, since, until string }

func (f *letterFilter) flags(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.app, "app", "", "only letters of this app: payment, notification, …")
	fl.StringVar(&f.topic, "topic", "", "only of this topic: order, payment, …")
	fl.StringVar(&f.kind, "type", "", "only events of this type: order.delivered, …")
	fl.StringVar(&f.subject, "subject", "", "only events of this aggregate, such as an order's id")
	fl.StringVar(&f.cause, "cause", "", "only with this in their cause, in upper or lower case")
	fl.StringVar(&f.since, "since", "", "only those that failed last at this time (RFC 3339) or later, or so long ago at most: 90m")
	fl.StringVar(&f.until, "until", "", "only those that failed last before this time, or longer ago: 24h")
}

// filter checks the flags.
func (f letterFilter) filter(now time.Time) (deadletter.Filter, error) {
	full := func(name string) string {
		if name == "" || strings.HasPrefix(name, cloudevent.Prefix) {
			return name
		}
		return cloudevent.Prefix + name
	}
	out := deadletter.Filter{Topic: full(f.topic), Type: full(f.kind), Subject: f.subject, Cause: f.cause}
	for _, bound := range []struct {
		flag, value string
		to          *time.Time
	}{{"--since", f.since, &out.Since}, {"--until", f.until, &out.Until}} {
		if bound.value == "" {
			continue
		}
		if d, err := time.ParseDuration(bound.value); err == nil && d >= 0 {
			*bound.to = now.Add(-d)
		} else if *bound.to, err = time.Parse(time.RFC3339, bound.value); err != nil {
			return out, usageError("%s %q is neither a duration such as 90m nor a time such as 2026-11-22T15:04:05Z", bound.flag, bound.value)
		}
	}
	return out, nil
}

// operatorAPI is the public API as the operator of the data folder sees it.
type operatorAPI struct{ *publicapi.Client }

// operator logs the operator in.
func (f *siteFlags) operator(ctx context.Context) (operatorAPI, error) {
	site, data, err := f.site(0)
	if err != nil {
		return operatorAPI{}, err
	}
	path := platform.Layout{Data: data}.Accounts()
	raw, err := os.ReadFile(path)
	if err != nil {
		return operatorAPI{}, fmt.Errorf("the operator's account: %w", err)
	}
	var accounts []platform.Account
	if err := json.Unmarshal(raw, &accounts); err != nil {
		return operatorAPI{}, fmt.Errorf("the operator's account: %s: %w", path, err)
	}
	i := slices.IndexFunc(accounts, func(a platform.Account) bool { return a.Role == "operator" })
	if i < 0 {
		return operatorAPI{}, fmt.Errorf("%s has no account of an operator", path)
	}
	api := operatorAPI{publicapi.New(site.URL, site.HTTP)}
	_, err = api.Login(ctx, accounts[i].Email, accounts[i].Password)
	return api, dlqFailure(ctx, err)
}

// dlqFailure says what a failure means for whoever typed the command.
func dlqFailure(ctx context.Context, err error) error {
	var p *problem.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return &ExitError{Code: exitInterrupted, Err: errors.New("interrupted")}
	case problem.Of(err) == problem.Unavailable:
		return fmt.Errorf("the platform does not answer (see `dishmesh status`): %w", err)
	case errors.As(err, &p) && p.Type == problem.NotFound:
		return errors.New(p.Detail)
	}
	return err
}

// appOf takes the app from the id of a letter.
func appOf(id string) (string, error) {
	app, rest, ok := strings.Cut(id, "_")
	if !ok || app == "" || rest == "" || strings.ContainsAny(id, "/?# ") {
		return "", usageError("%q is no dead letter's id: take one that `dishmesh dlq list` shows", id)
	}
	return app, nil
}

func letterPath(id string) (string, error) {
	app, err := appOf(id)
	return deadletter.Path + "/" + app + "/" + id, err
}

// overview asks for the newest letters that are chosen: of all apps, or of one.
func (api operatorAPI) overview(ctx context.Context, app string, f deadletter.Filter, limit int) (deadletter.Overview, error) {
	query := f.Values()
	query.Set("limit", strconv.Itoa(limit))
	var out deadletter.Overview
	if app == "" {
		err := api.Do(ctx, http.MethodGet, deadletter.Path+"?"+query.Encode(), nil, &out, publicapi.Retry(3))
		return out, dlqFailure(ctx, err)
	}
	list, err := api.page(ctx, app, query)
	return deadletter.Overview{Letters: list.Letters, Matched: list.Matched, Total: list.Total, Complete: err == nil,
		Apps: []deadletter.AppAnswer{{App: app, Matched: list.Matched, Total: list.Total, Topics: list.Topics}}}, err
}

func (api operatorAPI) page(ctx context.Context, app string, query url.Values) (deadletter.List, error) {
	var list deadletter.List
	err := api.Do(ctx, http.MethodGet, deadletter.Path+"/"+url.PathEscape(app)+"?"+query.Encode(), nil, &list, publicapi.Retry(3))
	return list, dlqFailure(ctx, err)
}

// everything asks for all letters that are chosen, page by page and app by app.
func (api operatorAPI) everything(ctx context.Context, app string, f deadletter.Filter) (deadletter.Overview, error) {
	out, err := api.overview(ctx, app, f, 1)
	out.Letters = []deadletter.Entry{}
	if err != nil {
		return out, err
	}
	for _, a := range out.Apps {
		query := f.Values()
		query.Set("limit", strconv.Itoa(deadletter.MaxListed))
		for more := a.Matched > 0; more; {
			list, err := api.page(ctx, a.App, query)
			if err != nil {
				return out, err
			}
			out.Letters = append(out.Letters, list.Letters...)
			query.Set("before", strconv.Itoa(list.Next))
			more = list.Next > 0
		}
	}
	return out, nil
}

func newDLQList() *cobra.Command {
	var f letterFilter
	var limit int
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List dead letters, the newest first",
		Long: `Lists the dead letters of all apps. An app that does not answer is named, and its letters are missing.

JSON keys: letters [{seq, id, app, topic, event, type, subject, cause, attempts, first_failure, last_failure, size, edits,
replays}], matched, total, complete, apps [{app, matched, total, topics [{topic, count, oldest}], problem}].
` + exitDLQ,
		Example: `  dishmesh dlq list
  dishmesh dlq list --app notification --cause "isn't known" --since 1h
  dishmesh dlq list --all --json | jq -r '.letters[].id'`,
		Args: cobra.NoArgs,
	}
	site := addSiteFlags(cmd)
	f.flags(cmd)
	cmd.Flags().IntVar(&limit, "limit", 50, fmt.Sprintf("how many, at most %d", deadletter.MaxListed))
	cmd.Flags().BoolVar(&all, "all", false, "all of them, however many")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if limit < 1 || limit > deadletter.MaxListed {
			return usageError("--limit is 1 to %d, not %d; --all lists all", deadletter.MaxListed, limit)
		}
		filter, err := f.filter(time.Now())
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		api, err := site.operator(ctx)
		if err != nil {
			return err
		}
		var o deadletter.Overview
		if all {
			o, err = api.everything(ctx, f.app, filter)
		} else {
			o, err = api.overview(ctx, f.app, filter, limit)
		}
		if err != nil {
			return err
		}
		if asJSON {
			err = printJSON(cmd.OutOrStdout(), o)
		} else {
			printLetters(cmd.OutOrStdout(), o)
		}
		if err == nil && !o.Complete {
			err = missing(o.Apps)
		}
		return err
	}
	return cmd
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// missing is the error of an answer that is not complete.
func missing(apps []deadletter.AppAnswer) error {
	var away []string
	for _, a := range apps {
		if a.Problem != "" {
			away = append(away, a.App+" ("+a.Problem+")")
		}
	}
	return fmt.Errorf("not complete, without %s", strings.Join(away, ", "))
}

func printLetters(w io.Writer, o deadletter.Overview) {
	p := newPalette(w)
	if len(o.Letters) > 0 {
		fmt.Fprintf(w, "%-40s %-8s %5s  %-28s %-31s %s\n", "ID", "AGE", "TRIES", "TYPE", "SUBJECT", "CAUSE")
	}
	for _, e := range o.Letters {
		kind := strings.TrimPrefix(e.Type, cloudevent.Prefix)
		if kind == "" {
			kind = strings.TrimPrefix(e.Topic, cloudevent.Prefix) + "/?"
		}
		mark := ""
		if e.Edits > 0 {
			mark = p.bold.Render("[edited] ")
		}
		fmt.Fprintf(w, "%-40s %-8s %5d  %-28s %-31s %s%s\n", e.ID, age(time.Since(e.Last)), e.Attempts, clipped(kind, 28), clipped(e.Subject, 31), mark, p.bad.Render(clipped(oneLine(e.Cause), 100)))
	}
	line := things(o.Matched, "dead letters")
	if o.Matched != o.Total {
		line = fmt.Sprintf("%d of %s", o.Matched, things(o.Total, "dead letters"))
	}
	if n := o.Matched - len(o.Letters); n > 0 && len(o.Letters) > 0 {
		line += fmt.Sprintf(", the newest %d are shown (--limit, --all)", len(o.Letters))
	}
	fmt.Fprintln(w, line)
	for _, a := range o.Apps {
		for _, t := range a.Topics {
			fmt.Fprintf(w, "  %-14s %-24s %6d, the oldest since %s\n", a.App, strings.TrimPrefix(t.Topic, cloudevent.Prefix), t.Count, age(time.Since(t.Oldest)))
		}
	}
}

func clipped(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// age rounds a duration to what one wants to know of it.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
