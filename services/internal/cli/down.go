package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/dishmesh/dishmesh/services/internal/platform"
)

func newDown() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "down",
		GroupID: groupPlatform,
		Short:   "Stop the platform",
		Long:    "Stops everything in order and waits for the end, at most 15 s. Data stay. Exit code 0 also when nothing ran.",
		Args:    cobra.NoArgs,
	}
	data := addDataFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := data()
		if err != nil {
			return err
		}
		layout := platform.Layout{Data: dir}
		err = platform.Connect(dir).Stop(cmd.Context())
		if errors.Is(err, platform.ErrNotRunning) {
			fmt.Fprintln(cmd.OutOrStdout(), "nothing runs")
			return nil
		}
		if err != nil {
			return err
		}
		start := time.Now()
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		deadline := time.After(15 * time.Second)
		for {
			if _, held := platform.Holder(layout); !held {
				fmt.Fprintf(cmd.OutOrStdout(), "stopped in %.1f s\n", time.Since(start).Seconds())
				return nil
			}
			select {
			case <-tick.C:
			case <-deadline:
				pid, _ := platform.Holder(layout)
				return fmt.Errorf("still stopping after 15 s: see what holds process %d, or kill it", pid)
			case <-cmd.Context().Done():
				return errors.New("interrupted while waiting; the platform goes on stopping")
			}
		}
	}
	return cmd
}
