package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dishmesh/dishmesh/services/internal/tail"
)

func init() { register(newEvents) }

func newEvents() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "events",
		GroupID: groupCheck,
		Short:   "Watch the platform's events",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newEventsTail())
	return cmd
}

func newEventsTail() *cobra.Command {
	var cfg tail.Config
	var from, broker string
	var noFollow, asJSON bool
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Print events as they happen",
		Long: `Reads the topics of the broker over the Kafka protocol, outside any consumer group, and prints a line for each event:
time, topic/partition/offset, type, subject and the data that say most. Dead letters are among them. Ctrl-C ends it.

With --json each line is an object: {topic, partition, offset, key, dead_letter_of, event}, where event is the CloudEvent;
a record that is none has its value in raw.
Exit codes: 0 ended by Ctrl-C or at the end, 1 the broker does not answer, 2 wrong flag, 3 no platform is running.`,
		Example: `  dishmesh events tail --topic payment
  dishmesh events tail --from beginning --no-follow --order ord_01h455vb4pex5vsknk084sn02q`,
		Args: cobra.NoArgs,
	}
	data := addDataFlag(cmd)
	fl := cmd.Flags()
	fl.StringVar(&cfg.Topic, "topic", "", "only this topic and its dead letters: order, payment, … (default all)")
	fl.StringVar(&from, "from", "end", "where to start: beginning or end")
	fl.StringVar(&cfg.Order, "order", "", "only events of this order")
	fl.BoolVar(&noFollow, "no-follow", false, "stop at the end instead of waiting for more")
	fl.StringVar(&broker, "broker", "", "address of the broker (default: of the platform that runs on the data folder)")
	fl.BoolVar(&asJSON, "json", false, "print a JSON object for each event")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if from != "beginning" && from != "end" {
			return usageError("--from is beginning or end, not %q", from)
		}
		cfg.Beginning, cfg.Stop = from == "beginning", noFollow
		if broker == "" {
			dir, err := data()
			if err != nil {
				return err
			}
			info, err := running(dir)
			if err != nil {
				return err
			}
			if broker = info.Broker; broker == "" {
				return fmt.Errorf("the events of the profile %s do not go over the Kafka protocol, which is the only one that this command reads: use a profile with kafka", info.Profile)
			}
		}
		cfg.Brokers = []string{broker}
		out := cmd.OutOrStdout()
		p := newPalette(out)
		enc := json.NewEncoder(out)
		return tail.Run(cmd.Context(), cfg, func(r tail.Record) error {
			if asJSON {
				return enc.Encode(r)
			}
			line := r.Line()
			if r.DeadLetterOf != "" || r.Event == nil {
				line = p.bad.Render(line)
			}
			_, err := fmt.Fprintln(out, line)
			return err
		})
	}
	return cmd
}
