package cli

import (
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/dishmesh/dishmesh/services/internal/sbom"
)

func init() { register(newSBOM) }

func newSBOM() *cobra.Command {
	var name, release string
	cmd := &cobra.Command{
		Use:     "sbom PROGRAM",
		GroupID: groupCheck,
		Short:   "List the modules that a Go program is made of, as CycloneDX",
		Long: `Reads what the Go linker wrote into a program and prints it as a CycloneDX document: every module with version and
hash, and the Go release. Every image of the platform holds the one of its program as /sbom.cdx.json.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if name == "" {
				name = filepath.Base(args[0])
			}
			return sbom.Write(cmd.OutOrStdout(), args[0], name, release)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the product (default the program's)")
	cmd.Flags().StringVar(&release, "version", version, "version of the product")
	return cmd
}
