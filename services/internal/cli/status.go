package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/dishmesh/dishmesh/services/internal/platform"
)

func newStatus() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "status",
		GroupID: groupPlatform,
		Short:   "Show every process, its health, restarts and memory",
		Long: `Shows every process of the platform with its sidecar.

JSON keys: ready, healthy, pid, version, profile, data, uptime_seconds, gateway_url, city_url, rss_bytes and
processes [{name, kind, app, pid, state, healthy, restarts, rss_bytes, uptime_seconds, problem}].
Exit codes: 0 everything is healthy, 1 something is not or nothing runs.`,
		Args: cobra.NoArgs,
	}
	data := addDataFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := data()
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		s, err := platform.Connect(dir).Status(cmd.Context())
		if errors.Is(err, platform.ErrNotRunning) {
			if asJSON {
				s = platform.Status{Data: dir, Processes: []platform.Process{}}
				if err := json.NewEncoder(out).Encode(s); err != nil {
					return err
				}
			}
			return &ExitError{Code: ExitFailed, Err: platform.ErrNotRunning}
		}
		if err != nil {
			return err
		}
		if asJSON {
			enc := json.NewEncoder(out)
			enc.SetIndent("", "  ")
			err = enc.Encode(s)
		} else {
			printStatus(out, s)
		}
		if err == nil && !s.Healthy {
			return &ExitError{Code: ExitFailed}
		}
		return err
	}
	return cmd
}

func printStatus(w io.Writer, s platform.Status) {
	p := newPalette(w)
	fmt.Fprintf(w, "%-22s %-9s %8s %9s %9s %9s\n", "PROCESS", "HEALTH", "PID", "RESTARTS", "MEMORY", "UPTIME")
	for _, proc := range s.Processes {
		health := p.good.Render(fmt.Sprintf("%-9s", "ok"))
		if !proc.Healthy {
			health = p.bad.Render(fmt.Sprintf("%-9s", "not ok"))
		}
		fmt.Fprintf(w, "%-22s %s %8d %9d %6d MB %9s", proc.Name, health, proc.PID, proc.Restarts, proc.RSSBytes>>20, shortDuration(proc.UptimeSeconds))
		if proc.Problem != "" {
			fmt.Fprintf(w, "  %s", proc.Problem)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "\n%d processes, %d MB resident in all, up %s, profile %s\n", len(s.Processes)+1, s.RSSBytes>>20, shortDuration(s.UptimeSeconds), s.Profile)
	fmt.Fprintf(w, "gateway %s   city %s\n", s.GatewayURL, s.CityURL)
}

func shortDuration(seconds float64) string {
	return (time.Duration(seconds) * time.Second).String()
}
