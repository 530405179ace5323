package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dishmesh/dishmesh/services/internal/platform"
)

func newLogs() *cobra.Command {
	var follow, raw bool
	var lines int
	cmd := &cobra.Command{
		Use:     "logs [process]…",
		GroupID: groupPlatform,
		Short:   "Show what the processes log",
		Long: `Shows the last lines of the logs, of all processes or of those named. A service's sidecar is named
<service>-daprd; the supervisor itself logs as supervisor.`,
	}
	data := addDataFlag(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new lines until Ctrl-C")
	cmd.Flags().IntVarP(&lines, "lines", "n", 20, "lines of each log to begin with")
	cmd.Flags().BoolVar(&raw, "json", false, "print the lines as they were logged")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dir, err := data()
		if err != nil {
			return err
		}
		layout := platform.Layout{Data: dir}
		names, err := logNames(layout, args)
		if err != nil {
			return err
		}
		t := &tailer{out: cmd.OutOrStdout(), raw: raw, prefix: len(names) > 1, offsets: map[string]int64{}, layout: layout}
		for _, name := range names {
			if err := t.begin(name, lines); err != nil {
				return err
			}
		}
		if !follow {
			return nil
		}
		return t.follow(cmd.Context(), names)
	}
	return cmd
}

// logNames resolves the names of the logs asked for, or lists all.
func logNames(l platform.Layout, args []string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(l.Logs(), "*.log"))
	if err != nil {
		return nil, err
	}
	var have []string
	for _, f := range files {
		have = append(have, strings.TrimSuffix(filepath.Base(f), ".log"))
	}
	slices.Sort(have)
	if len(have) == 0 {
		return nil, fmt.Errorf("there are no logs in %s: start the platform with `dishmesh up`", l.Logs())
	}
	for _, a := range args {
		if !slices.Contains(have, a) {
			return nil, &ExitError{Code: ExitUsage, Err: fmt.Errorf("nothing logs as %q: choose from %s", a, strings.Join(have, ", "))}
		}
	}
	if len(args) > 0 {
		return args, nil
	}
	return have, nil
}

// tailer prints logs and remembers how far it has read each.
type tailer struct {
	out     io.Writer
	raw     bool
	prefix  bool
	offsets map[string]int64
	layout  platform.Layout
}

func (t *tailer) begin(name string, n int) error {
	path := t.layout.Log(name)
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	lines, err := platform.TailLines(path, n)
	if err != nil {
		return err
	}
	for _, line := range lines {
		t.print(name, line)
	}
	t.offsets[name] = info.Size()
	return nil
}

func (t *tailer) follow(ctx context.Context, names []string) error {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		for _, name := range names {
			if err := t.more(name); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
}

// more prints the whole lines that came since the last time; a log that became shorter was rotated.
func (t *tailer) more(name string) error {
	f, err := os.Open(t.layout.Log(name))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < t.offsets[name] {
		t.offsets[name] = 0
	}
	if info.Size() == t.offsets[name] {
		return nil
	}
	r := bufio.NewReader(io.NewSectionReader(f, t.offsets[name], info.Size()-t.offsets[name]))
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil //nolint:nilerr // half a line is read again when it is whole
		}
		t.offsets[name] += int64(len(line))
		t.print(name, strings.TrimRight(line, "\r\n"))
	}
}

func (t *tailer) print(name, line string) {
	if !t.raw {
		line = prettyLogLine(line)
	}
	if t.prefix {
		fmt.Fprintf(t.out, "%-20s ", name)
	}
	fmt.Fprintln(t.out, line)
}

// prettyLogLine shortens a JSON log line of a service (slog) or of the Dapr runtime to time, level, text and the rest.
func prettyLogLine(line string) string {
	if !strings.HasPrefix(line, "{") {
		return line
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(line), &m); err != nil {
		return line
	}
	text, _ := m["msg"].(string)
	level, _ := m["level"].(string)
	stamp, _ := m["time"].(string)
	if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
		stamp = at.Local().Format("15:04:05.000")
	}
	for _, key := range []string{"msg", "level", "time", "ver", "instance", "type", "app_id", "service"} {
		delete(m, key)
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var b strings.Builder
	fmt.Fprintf(&b, "%s %-5s %s", stamp, strings.ToUpper(level), strings.TrimSpace(text))
	for _, k := range keys {
		v := fmt.Sprint(m[k])
		if v != "" {
			fmt.Fprintf(&b, " %s=%s", k, v)
		}
	}
	return b.String()
}
