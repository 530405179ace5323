package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func init() { register(newOwn) }

// newOwn is for a cluster whose volumes are folders of the node, which belong to root.
func newOwn() *cobra.Command {
	return &cobra.Command{
		Use:   "own DIR",
		Short: "Give a folder to the user whose number is the group of this process",
		Long: `Gives a folder to the user and group whose number is the group of this process, and closes it to all others. What is in
it stays as it is. It needs root, or the capability CHOWN.`,
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			id := os.Getgid()
			// First the mode, which only the owner may change.
			if err := os.Chmod(args[0], 0o700); err != nil && !os.IsPermission(err) {
				return fmt.Errorf("own: %w", err)
			}
			if err := os.Chown(args[0], id, id); err != nil {
				return fmt.Errorf("own: %w", err)
			}
			return nil
		},
	}
}
