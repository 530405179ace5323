package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/dishmesh/dishmesh/services/internal/deadletter"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
)

// actFlags are the flags of `dishmesh dlq replay` and `drop`.
type actFlags struct {
	letterFilter
	all, dryRun, yes, json bool
	reason                 string
	part                   int
}

// actResult is what --json prints. Its keys are stable.
type actResult struct {
	Action      string               `json:"action"`
	DryRun      bool                 `json:"dry_run"`
	Matched     int                  `json:"matched"`
	Done        int                  `json:"done"`
	Failed      []deadletter.Failure `json:"failed"`
	Seconds     float64              `json:"seconds"`
	PerSecond   float64              `json:"per_second"`
	Interrupted bool                 `json:"interrupted"`
	Operations  []string             `json:"operations"` // as the trail calls them
	Letters     []deadletter.Entry   `json:"letters,omitempty"`
	Away        map[string]string    `json:"away,omitempty"` // apps that did not answer, and why

	failed map[string]bool
}

func (r *actResult) add(part deadletter.Result) {
	r.Done += part.Done
	for _, f := range part.Failed {
		if !r.failed[f.ID] {
			r.failed[f.ID] = true
			r.Failed = append(r.Failed, f)
		}
	}
	if n := len(r.Operations); part.Operation != "" && (n == 0 || r.Operations[n-1] != part.Operation) {
		r.Operations = append(r.Operations, part.Operation)
	}
}

var actHelp = map[string]struct{ short, long, example string }{
	deadletter.ActionReplay: {"Deliver dead letters to their handlers once more",
		`Replays the letters that are named or chosen. A letter whose event is taken in is gone; one that fails again stays, with its
new cause. The events of one aggregate are replayed in the order in which they failed, others side by side.`,
		`  dishmesh dlq replay notification_0h455vb4pex5vsknk084sn02q
  dishmesh dlq replay --app payment --cause timeout --dry-run
  dishmesh dlq replay --all --yes --reason "the mail provider is back"`},
	deadletter.ActionDrop: {"Give dead letters up",
		`Drops the letters that are named or chosen: their events are never taken in. Who did it, and why, stays in the trail.`,
		`  dishmesh dlq drop --type order.delivered --until 720h --dry-run
  dishmesh dlq drop payment_0h455vb4pex5vsknk084sn02q --reason "test data"`},
}

func newDLQAct(action string) *cobra.Command {
	var f actFlags
	help := actHelp[action]
	cmd := &cobra.Command{
		Use:   action + " [ID...]",
		Short: help.short,
		Long: help.long + `

A choice by filter shows first what it comes to, and asks; where nobody can be asked it wants --yes. Progress goes to
stderr. Ctrl-C stops after the part under way; the command can be given again.

JSON keys: action, dry_run, matched, done, failed [{id, event, cause}], seconds, per_second, interrupted, operations, letters
(of a dry run, the newest), away {app: why}.
` + exitDLQ,
		Example: help.example,
	}
	site := addSiteFlags(cmd)
	f.flags(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&f.all, "all", false, "every letter, where no filter is given")
	fl.BoolVar(&f.dryRun, "dry-run", false, "show what would be done, and do nothing")
	fl.BoolVar(&f.yes, "yes", false, "don't ask")
	fl.StringVar(&f.reason, "reason", "", "why, for the trail")
	fl.IntVar(&f.part, "part", 0, "letters of one request, at most 500; 0: as many as are good")
	fl.BoolVar(&f.json, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, ids []string) error { return runAct(cmd, action, ids, f, site) }
	return cmd
}

func runAct(cmd *cobra.Command, action string, ids []string, f actFlags, site *siteFlags) error {
	filter, err := f.filter(time.Now())
	if err != nil {
		return err
	}
	chosen := f.all || f.app != "" || !filter.Empty()
	switch {
	case len(ids) > 0 && chosen:
		return usageError("name letters, or choose them by a filter, not both")
	case len(ids) == 0 && !chosen:
		return usageError("which letters? Name them, choose them by a filter, or say --all")
	case f.part < 0 || f.part > deadletter.MaxListed:
		return usageError("--part is 1 to %d, not %d", deadletter.MaxListed, f.part)
	case f.json && chosen && !f.yes && !f.dryRun:
		return usageError("--json with a filter wants --yes or --dry-run")
	}
	for _, id := range ids {
		if _, err := appOf(id); err != nil {
			return err
		}
	}
	ctx := cmd.Context()
	api, err := site.operator(ctx)
	if err != nil {
		return err
	}
	r := &actResult{Action: action, DryRun: f.dryRun, Failed: []deadletter.Failure{}, Operations: []string{}, failed: map[string]bool{}}
	start := time.Now()
	if len(ids) > 0 {
		err = api.actOn(ctx, action, ids, f, r)
	} else {
		var o deadletter.Overview
		if o, err = api.overview(ctx, f.app, filter, 10); err != nil {
			return err
		}
		if err = agree(cmd, action, o, f); err != nil {
			return err
		}
		start = time.Now()
		err = api.actAll(ctx, cmd.ErrOrStderr(), action, o, filter, f, r)
	}
	r.Seconds = time.Since(start).Seconds()
	if r.Seconds > 0 {
		r.PerSecond = float64(r.Done+len(r.Failed)) / r.Seconds
	}
	r.Interrupted = ctx.Err() != nil
	if f.json {
		err = errors.Join(err, printJSON(cmd.OutOrStdout(), r))
	} else if !f.dryRun || len(ids) > 0 {
		printAct(cmd.OutOrStdout(), r)
	}
	switch {
	case r.Interrupted:
		return &ExitError{Code: exitInterrupted}
	case err != nil:
		return err
	case len(r.Failed) > 0 || len(r.Away) > 0:
		return &ExitError{Code: ExitFailed}
	}
	return nil
}

// actOn acts on letters by their ids.
func (api operatorAPI) actOn(ctx context.Context, action string, ids []string, f actFlags, r *actResult) error {
	var errs []error
	for _, id := range ids {
		l, err := api.letter(ctx, id)
		if err == nil && f.dryRun {
			r.Matched++
			r.Letters = append(r.Letters, l.Entry)
			continue
		}
		var out deadletter.Result
		if err == nil {
			path, _ := letterPath(id) // checked before
			err = dlqFailure(ctx, api.Do(ctx, http.MethodPost, path+"/"+action, deadletter.ActionRequest{Reason: f.reason}, &out))
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", id, err))
			continue
		}
		r.Matched++
		r.add(out)
	}
	return errors.Join(errs...)
}

// agree shows what a choice comes to and has it confirmed.
func agree(cmd *cobra.Command, action string, o deadletter.Overview, f actFlags) error {
	if f.json {
		return nil
	}
	out := cmd.ErrOrStderr()
	if f.dryRun {
		out = cmd.OutOrStdout()
	}
	if !f.yes || f.dryRun {
		fmt.Fprintf(out, "%s: %s\n", action, things(o.Matched, "dead letters"))
		for _, a := range o.Apps {
			switch {
			case a.Problem != "":
				fmt.Fprintf(out, "  %-14s does not answer, its letters are left alone: %s\n", a.App, a.Problem)
			case a.Matched > 0:
				fmt.Fprintf(out, "  %-14s %d of %d\n", a.App, a.Matched, a.Total)
			}
		}
		for _, e := range o.Letters {
			fmt.Fprintf(out, "    %s  %s  %s\n", e.ID, e.Event, clipped(oneLine(e.Cause), 80))
		}
		if more := o.Matched - len(o.Letters); more > 0 {
			fmt.Fprintf(out, "    … and %d more\n", more)
		}
	}
	if f.yes || f.dryRun || o.Matched == 0 {
		return nil
	}
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !isatty.IsTerminal(in.Fd()) {
		return usageError("nothing was done: say --yes to %s these, or --dry-run", action)
	}
	fmt.Fprintf(out, "%s %s? [y/N] ", action, things(o.Matched, "dead letters"))
	said, err := bufio.NewReader(in).ReadString('\n')
	if word := strings.ToLower(strings.TrimSpace(said)); err != nil || word != "y" && word != "yes" {
		return &ExitError{Code: ExitFailed, Err: errors.New("nothing was done")}
	}
	return nil
}

// actAll has every app act on its letters, part by part, and shows how it goes.
func (api operatorAPI) actAll(ctx context.Context, progress io.Writer, action string, o deadletter.Overview, filter deadletter.Filter, f actFlags, r *actResult) error {
	r.Matched = o.Matched
	for _, a := range o.Apps {
		if a.Problem != "" {
			if r.Away == nil {
				r.Away = map[string]string{}
			}
			r.Away[a.App] = a.Problem
		}
	}
	if f.dryRun {
		r.Letters = o.Letters
		return nil
	}
	show := newActProgress(progress, action, o.Matched)
	defer show.close()
	for _, a := range o.Apps {
		if a.Matched == 0 {
			continue
		}
		req := deadletter.BulkRequest{Filter: filter, All: filter.Empty(), Limit: f.part, Reason: f.reason}
		for {
			var part deadletter.Result
			err := api.Do(ctx, http.MethodPost, deadletter.Path+"/"+a.App+"/"+action, req, &part, publicapi.Retry(5))
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return fmt.Errorf("%s: %w", a.App, dlqFailure(ctx, err))
			}
			r.add(part)
			show.set(r.Done, len(r.Failed))
			if req.Cursor = part.Cursor; req.Cursor == "" {
				break
			}
		}
	}
	return nil
}

// actProgress shows how far a long action is: one line that changes on a terminal, else a line every 2 s.
type actProgress struct {
	w        io.Writer
	terminal bool
	action   string
	matched  int
	start    time.Time
	said     time.Time
}

func newActProgress(w io.Writer, action string, matched int) *actProgress {
	now := time.Now()
	return &actProgress{w: w, terminal: isTerminal(w), action: action, matched: matched, start: now, said: now}
}

func (p *actProgress) set(done, failed int) {
	if !p.terminal && time.Since(p.said) < 2*time.Second {
		return
	}
	p.said = time.Now()
	rate := float64(done+failed) / max(0.001, time.Since(p.start).Seconds())
	text := fmt.Sprintf("%s: %d of %d, %.0f per s", p.action, done+failed, p.matched, rate)
	if failed > 0 {
		text += fmt.Sprintf(", %d failed", failed)
	}
	if p.terminal {
		fmt.Fprintf(p.w, "\r\x1b[K%s", text)
	} else {
		fmt.Fprintln(p.w, text)
	}
}

func (p *actProgress) close() {
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

func printAct(w io.Writer, r *actResult) {
	p := newPalette(w)
	verb := map[string]string{deadletter.ActionReplay: "replayed", deadletter.ActionDrop: "dropped"}[r.Action]
	if r.DryRun {
		fmt.Fprintf(w, "would be %s: %s\n", verb, things(r.Matched, "dead letters"))
		return
	}
	const shown = 10
	for _, f := range r.Failed[:min(shown, len(r.Failed))] {
		fmt.Fprintf(w, "%s %s  %s  %s\n", p.bad.Render("✗"), f.ID, f.Event, clipped(oneLine(f.Cause), 100))
	}
	if more := len(r.Failed) - shown; more > 0 {
		fmt.Fprintf(w, "  … and %d more that failed, see `dishmesh dlq list`\n", more)
	}
	fmt.Fprintf(w, "%s %s of %d", verb, things(r.Done, "dead letters"), r.Matched)
	if len(r.Failed) > 0 {
		fmt.Fprintf(w, ", %d failed again and stay", len(r.Failed))
	}
	if r.Seconds >= 1 {
		fmt.Fprintf(w, ", in %.1f s, %.0f per s", r.Seconds, r.PerSecond)
	}
	fmt.Fprintln(w)
	for app, why := range r.Away {
		fmt.Fprintf(w, "%s did not answer, its letters are left alone: %s\n", app, why)
	}
	if r.Interrupted {
		fmt.Fprintln(w, "interrupted; give the command again to go on")
	}
}
