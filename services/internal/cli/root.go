// Package cli holds the commands of the dishmesh program. Each command has a file of its own; root.go lists their
// constructors.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/charmbracelet/lipgloss"
	"github.com/mattn/go-isatty"
	"github.com/muesli/termenv"
	"github.com/spf13/cobra"

	"github.com/dishmesh/dishmesh/services/internal/platform"
)

// Exit codes of every command. Commands that end in another way document it in their help.
const (
	// ExitOK: done, and what was asked about is in order.
	ExitOK = 0
	// ExitFailed: could not be done, or what was asked about is not in order.
	ExitFailed = 1
	// ExitUsage: a wrong flag or argument.
	ExitUsage = 2
	// ExitNotRunning: the command needs a running platform and there is none.
	ExitNotRunning = 3
)

// Groups of commands in the help.
const (
	groupPlatform = "platform"
	groupOrders   = "orders"
	groupCheck    = "check"
)

// version is set by the build.
var version = "dev"

// commands lists the constructors of all commands. A new command adds its own line in an init function of its file,
// with register, and touches nothing here.
var commands = []func() *cobra.Command{newUp, newDown, newStatus, newLogs, newDoctor, newBroker}

// register adds a command to the program; call it from an init function.
func register(newCommand func() *cobra.Command) { commands = append(commands, newCommand) }

// Root builds the whole program.
func Root() *cobra.Command {
	root := &cobra.Command{
		Use:   "dishmesh",
		Short: "A food-delivery platform on real Dapr sidecars, on one machine",
		Long: `Dishmesh runs a whole food-delivery platform on this machine: ten services, each beside its own Dapr sidecar,
with mTLS, a broker, workflows and a city of kitchens and couriers around them.

  dishmesh up        start everything
  dishmesh order     place an order and follow it
  dishmesh status    see every process

Exit codes: 0 done; 1 failed, or something is not in order; 2 wrong flag or argument; 3 no platform is running.`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddGroup(
		&cobra.Group{ID: groupPlatform, Title: "The platform:"},
		&cobra.Group{ID: groupOrders, Title: "Orders:"},
		&cobra.Group{ID: groupCheck, Title: "Looking and checking:"},
	)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &ExitError{Code: ExitUsage, Err: fmt.Errorf("%w: see `%s --help`", err, cmd.CommandPath())}
	})
	root.CompletionOptions.HiddenDefaultCmd = true
	for _, newCommand := range commands {
		root.AddCommand(newCommand())
	}
	return root
}

// ExitError carries the exit code that an error asks for.
type ExitError struct {
	Code int
	// Err is printed; nil when everything has been said already.
	Err error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

func (e *ExitError) Unwrap() error { return e.Err }

// Main runs the program and returns its exit code. Errors are one line on stderr.
func Main(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := Root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	code := ExitFailed
	var exit *ExitError
	switch {
	case errors.As(err, &exit):
		code = exit.Code
	case errors.Is(err, platform.ErrNotRunning):
		code = ExitNotRunning
	case strings.HasPrefix(err.Error(), "unknown command"), strings.HasPrefix(err.Error(), "accepts "),
		strings.HasPrefix(err.Error(), "unknown flag"):
		code = ExitUsage
	}
	if exit == nil || exit.Err != nil {
		fmt.Fprintf(stderr, "dishmesh: %s\n", strings.ReplaceAll(err.Error(), "\n", " "))
	}
	return code
}

// addDataFlag adds --data, which every command has, and returns a function that resolves it after parsing.
func addDataFlag(cmd *cobra.Command) func() (string, error) {
	var data string
	cmd.Flags().StringVar(&data, "data", "", "data folder (default .dishmesh in the checkout)")
	return func() (string, error) {
		if data != "" {
			return filepath.Abs(data)
		}
		home, err := platform.FindHome()
		if err != nil {
			return "", fmt.Errorf("which data folder? Give --data, or: %w", err)
		}
		return filepath.Join(home.Dir, platform.DefaultData), nil
	}
}

// isTerminal tells whether a writer is a terminal that takes control sequences.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb"
}

// palette colours text for one writer, and does nothing where nobody sees colours or NO_COLOR is set.
type palette struct{ good, bad, dim, bold lipgloss.Style }

func newPalette(w io.Writer) palette {
	r := lipgloss.NewRenderer(w)
	if !isTerminal(w) || os.Getenv("NO_COLOR") != "" {
		r.SetColorProfile(termenv.Ascii)
	}
	return palette{
		good: r.NewStyle().Foreground(lipgloss.Color("2")),
		bad:  r.NewStyle().Foreground(lipgloss.Color("1")).Bold(true),
		dim:  r.NewStyle().Faint(true),
		bold: r.NewStyle().Bold(true),
	}
}
