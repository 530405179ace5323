package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/deadletter"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
)

func (api operatorAPI) letter(ctx context.Context, id string) (deadletter.Letter, error) {
	var l deadletter.Letter
	path, err := letterPath(id)
	if err != nil {
		return l, err
	}
	return l, dlqFailure(ctx, api.Do(ctx, http.MethodGet, path, nil, &l, publicapi.Retry(3)))
}

func newDLQShow() *cobra.Command {
	var asJSON, original bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one dead letter with its event",
		Long: `Shows the cause, the attempts, the first and the last failure, the trace id, and the event as it was delivered.

JSON keys: those of dishmesh dlq list for one letter, and correlation_id, trace_id, original (text) or original_base64, cut
(bytes that are missing at its end), edit {body, by, at}.
` + exitDLQ,
		Example: `  dishmesh dlq show notification_0h455vb4pex5vsknk084sn02q
  dishmesh dlq show notification_0h455vb4pex5vsknk084sn02q --original > event.json`,
		Args: cobra.ExactArgs(1),
	}
	site := addSiteFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&original, "original", false, "print the bytes of the event as it was delivered, and nothing else")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if _, err := appOf(args[0]); err != nil {
			return err
		}
		api, err := site.operator(cmd.Context())
		if err != nil {
			return err
		}
		l, err := api.letter(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		switch {
		case original:
			_, err = out.Write(originalOf(l))
		case asJSON:
			err = printJSON(out, l)
		default:
			printLetter(out, l)
		}
		return err
	}
	return cmd
}

func originalOf(l deadletter.Letter) []byte {
	if l.OriginalBase64 != nil {
		return l.OriginalBase64
	}
	return []byte(l.Original)
}

func printLetter(w io.Writer, l deadletter.Letter) {
	p := newPalette(w)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s %s\n", p.dim.Render(fmt.Sprintf("%-14s", name)), fmt.Sprintf(format, args...))
	}
	line("id", "%s", l.ID)
	line("app", "%s", l.App)
	line("topic", "%s", l.Topic)
	for _, f := range []struct{ name, value string }{{"event", l.Event}, {"type", l.Type}, {"subject", l.Subject}, {"correlation", l.CorrelationID}, {"trace", l.TraceID}} {
		if f.value != "" {
			line(f.name, "%s", f.value)
		}
	}
	line("cause", "%s", p.bad.Render(l.Cause))
	line("attempts", "%d, of which %d replays", l.Attempts, l.Replays)
	line("first failure", "%s (%s ago)", l.First.Format(time.RFC3339), age(time.Since(l.First)))
	line("last failure", "%s (%s ago)", l.Last.Format(time.RFC3339), age(time.Since(l.Last)))
	line("size", "%d bytes", l.Size)
	if l.Cut > 0 {
		line("cut", "%d more bytes were not kept", l.Cut)
	}
	fmt.Fprintln(w, "\n"+p.bold.Render("original"))
	if l.OriginalBase64 != nil {
		fmt.Fprintln(w, "no text; --original gives its bytes, --json base64")
	} else {
		fmt.Fprintln(w, strings.TrimRight(string(indented([]byte(l.Original))), "\n"))
	}
	if l.Edit != nil {
		fmt.Fprintf(w, "\n%s\n%s\n", p.bold.Render(fmt.Sprintf("edited by %s at %s, this is what a replay delivers", l.Edit.By, l.Edit.At.Format(time.RFC3339))), indented(l.Edit.Body))
	}
}

// indented makes JSON readable and leaves everything else as it is.
func indented(raw []byte) []byte {
	var b bytes.Buffer
	if json.Indent(&b, raw, "", "  ") != nil {
		return raw
	}
	return b.Bytes()
}

func newDLQEdit() *cobra.Command {
	var body string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "edit ID",
		Short: "Change what a replay of a dead letter delivers",
		Long: `Keeps a changed event beside the original, which stays as it is. A replay then delivers the changed one. Without --body
the event opens in $VISUAL or $EDITOR; nothing happens when it is left unchanged. What is given must be a whole event in
JSON, and still the same event: its id stays.

JSON keys: those of dishmesh dlq show.
` + exitDLQ,
		Example: `  dishmesh dlq edit notification_0h455vb4pex5vsknk084sn02q
  dishmesh dlq show ID --original | jq '.data.customer_id = "usr_1"' | dishmesh dlq edit ID --body -`,
		Args: cobra.ExactArgs(1),
	}
	site := addSiteFlags(cmd)
	cmd.Flags().StringVar(&body, "body", "", "file with the changed event; -: standard input")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := letterPath(args[0])
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		var changed []byte
		if body != "" {
			if changed, err = readBody(cmd.InOrStdin(), body); err != nil {
				return err
			}
		}
		api, err := site.operator(ctx)
		if err != nil {
			return err
		}
		if body == "" {
			l, err := api.letter(ctx, args[0])
			if err != nil {
				return err
			}
			if changed, err = inEditor(cmd, l); err != nil {
				return err
			}
			if changed == nil {
				_, err = fmt.Fprintln(cmd.ErrOrStderr(), "nothing was changed")
				return err
			}
		}
		var l deadletter.Letter
		if err := api.Do(ctx, http.MethodPut, path, deadletter.EditRequest{Body: changed}, &l, publicapi.Retry(3)); err != nil {
			if problem.Of(err) == problem.InvalidRequest {
				return &ExitError{Code: ExitUsage, Err: err}
			}
			return dlqFailure(ctx, err)
		}
		if asJSON {
			return printJSON(cmd.OutOrStdout(), l)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: a replay now delivers the changed event; the original is kept\n", l.ID)
		return err
	}
	return cmd
}

// maxBody bounds an edited event in bytes: the public API takes no more.
const maxBody = 60 << 10

func readBody(stdin io.Reader, from string) ([]byte, error) {
	name := from
	in := stdin
	if from == "-" {
		name = "standard input"
	} else {
		f, err := os.Open(from)
		if err != nil {
			return nil, usageError("--body: %w", err)
		}
		defer func() { _ = f.Close() }() // it was only read
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("--body: %s: %w", name, err)
	}
	return raw, checkEvent(name, raw)
}

// checkEvent refuses what can't be an event, with the place of the fault.
func checkEvent(name string, raw []byte) error {
	if len(raw) > maxBody {
		return usageError("%s has more than %d bytes", name, maxBody)
	}
	var v any
	err := json.Unmarshal(raw, &v)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		before := raw[:min(int(syntax.Offset), len(raw))]
		return usageError("%s, line %d: no JSON: %w", name, 1+bytes.Count(before, []byte("\n")), err)
	}
	var e cloudevent.Event
	if err := json.Unmarshal(raw, &e); err != nil {
		return usageError("%s is no event: %w", name, err)
	}
	if err := e.Validate(); err != nil {
		return usageError("%s is no event: %s", name, strings.ReplaceAll(err.Error(), "\n", ", "))
	}
	return nil
}

// inEditor lets the operator change the event; nil if nothing was changed.
func inEditor(cmd *cobra.Command, l deadletter.Letter) ([]byte, error) {
	editor := os.Getenv("VISUAL")
	if editor == "" {
		editor = os.Getenv("EDITOR")
	}
	if editor == "" {
		return nil, usageError("which editor? Set EDITOR, or give --body FILE")
	}
	before := indented(originalOf(l))
	if l.Edit != nil {
		before = indented(l.Edit.Body)
	}
	f, err := os.CreateTemp("", l.ID+"-*.json")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(f.Name()) }() // it holds a copy only
	_, err = f.Write(append(before, '\n'))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	words := strings.Fields(editor)
	run := exec.CommandContext(cmd.Context(), words[0], append(words[1:], f.Name())...)
	run.Stdin, run.Stdout, run.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := run.Run(); err != nil {
		return nil, fmt.Errorf("editor %s: %w", editor, err)
	}
	after, err := os.ReadFile(f.Name())
	if err != nil {
		return nil, err
	}
	after = bytes.TrimSpace(after)
	if bytes.Equal(after, bytes.TrimSpace(before)) {
		return nil, nil
	}
	return after, checkEvent("what you wrote", after)
}
