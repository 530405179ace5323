package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/dishmesh/dishmesh/services/internal/deadletter"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
)

func newDLQAudit() *cobra.Command {
	var app string
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show who edited, replayed and dropped which dead letters, the newest first",
		Long: `Every action leaves a record in the store of the app that had the letters: when a replay or a drop was asked for, and what
came of it, with the letters. Records are never changed nor removed.

JSON keys: records [{seq, app, at, by, action, operation, phase (requested or done), reason, filter, matched, done, failed,
letters [{id, event, cause}], more}], complete, apps [{app, total, problem}]. Of a record with many letters the first are
shown, and more counts the others; --limit 1 shows all.
` + exitDLQ,
		Example: `  dishmesh dlq audit --limit 20
  dishmesh dlq audit --app payment --json | jq '.records[] | select(.action == "edit")'`,
		Args: cobra.NoArgs,
	}
	site := addSiteFlags(cmd)
	cmd.Flags().StringVar(&app, "app", "", "only of this app")
	cmd.Flags().IntVar(&limit, "limit", 50, fmt.Sprintf("how many records, at most %d", deadletter.MaxListed))
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if limit < 1 || limit > deadletter.MaxListed {
			return usageError("--limit is 1 to %d, not %d", deadletter.MaxListed, limit)
		}
		ctx := cmd.Context()
		api, err := site.operator(ctx)
		if err != nil {
			return err
		}
		var o deadletter.TrailOverview
		query := "?limit=" + strconv.Itoa(limit)
		if app == "" {
			err = api.Do(ctx, http.MethodGet, deadletter.Path+"/audit"+query, nil, &o, publicapi.Retry(3))
		} else {
			var t deadletter.Trail
			err = api.Do(ctx, http.MethodGet, deadletter.Path+"/"+url.PathEscape(app)+"/audit"+query, nil, &t, publicapi.Retry(3))
			o = deadletter.TrailOverview{Records: t.Records, Complete: true, Apps: []deadletter.AppAnswer{{App: app, Total: len(t.Records)}}}
		}
		if err != nil {
			return dlqFailure(ctx, err)
		}
		if asJSON {
			err = printJSON(cmd.OutOrStdout(), o)
		} else {
			printTrail(cmd.OutOrStdout(), o.Records)
		}
		if err == nil && !o.Complete {
			err = missing(o.Apps)
		}
		return err
	}
	return cmd
}

func printTrail(w io.Writer, records []deadletter.Record) {
	for _, r := range records {
		fmt.Fprintf(w, "%s  %-13s %-7s %-9s by %s", r.At.Format(time.RFC3339), r.App, r.Action, r.Phase, r.By)
		switch {
		case r.Phase == deadletter.PhaseRequested:
			fmt.Fprintf(w, ": %s", things(r.Matched, "letters"))
		case r.Failed > 0:
			fmt.Fprintf(w, ": %d done, %d failed", r.Done, r.Failed)
		default:
			fmt.Fprintf(w, ": %d done", r.Done)
		}
		if r.Reason != "" {
			fmt.Fprintf(w, " (%s)", r.Reason)
		}
		fmt.Fprintln(w)
		const shown = 3
		for _, l := range r.Letters[:min(shown, len(r.Letters))] {
			fmt.Fprintf(w, "    %s  %s  %s\n", l.ID, l.Event, clipped(oneLine(l.Cause), 80))
		}
		if more := len(r.Letters) + r.More - shown; more > 0 {
			fmt.Fprintf(w, "    … and %d more\n", more)
		}
	}
	fmt.Fprintln(w, things(len(records), "records"))
}
