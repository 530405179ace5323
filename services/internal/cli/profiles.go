package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dishmesh/dishmesh/services/internal/platform"
	"github.com/dishmesh/dishmesh/services/internal/profile"
)

func init() { register(newProfiles) }

// profileInfo is what `dishmesh profiles --json` says of a profile. The keys are stable.
type profileInfo struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	// Here reports whether every server that it needs is.
	Here    bool         `json:"here"`
	Servers []serverInfo `json:"servers"`
	// NotRun says why the project's own tests leave it out.
	NotRun string `json:"not_run,omitempty"`
	// Problem is what is wrong with its components; then it can't be started.
	Problem string `json:"problem,omitempty"`
}

type serverInfo struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	profile.Found
}

func newProfiles() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "profiles",
		GroupID: groupPlatform,
		Short:   "List the brokers and stores that the platform can run on, and what is here of them",
		Long: `Lists the profiles of components/, the servers that each needs, whether they are here, and how to get what is not.
Profiles can be laid over each other: ` + "`dishmesh up --profile kafka,postgres`" + `.

With --json the answer is a list of {name, description, here, servers [{name, title, here, version, where, mend}],
not_run, problem}. Exit codes: 0 all components are in order, 1 a component file is broken.`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		home, err := platform.FindHome()
		if err != nil {
			return err
		}
		infos, err := profileInfos(cmd.Context(), home)
		if err != nil {
			return err
		}
		if asJSON {
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			err = enc.Encode(infos)
		} else {
			printProfiles(cmd.OutOrStdout(), infos)
		}
		for _, p := range infos {
			if p.Problem != "" && err == nil {
				err = &ExitError{Code: ExitFailed}
			}
		}
		return err
	}
	return cmd
}

func profileInfos(ctx context.Context, home platform.Home) ([]profileInfo, error) {
	all, err := profile.List(home.Components())
	if err != nil {
		return nil, err
	}
	found := map[string]profile.Found{}
	var out []profileInfo
	for _, d := range all {
		info := profileInfo{Name: d.Name, Description: d.Description, NotRun: d.NotRun, Servers: []serverInfo{}}
		p, err := profile.Load(home.Components(), d.Name)
		if err != nil {
			info.Problem = err.Error()
			out = append(out, info)
			continue
		}
		info.Here = true
		for _, s := range p.ServerList() {
			f, asked := found[s.Name()]
			if !asked {
				f = s.Probe(ctx)
				found[s.Name()] = f
			}
			info.Here = info.Here && f.Here
			info.Servers = append(info.Servers, serverInfo{Name: s.Name(), Title: s.Title(), Found: f})
		}
		out = append(out, info)
	}
	return out, nil
}

func printProfiles(w io.Writer, infos []profileInfo) {
	p := newPalette(w)
	width := 0
	for _, i := range infos {
		width = max(width, len(i.Name))
	}
	for _, i := range infos {
		mark := p.good.Render("✓")
		if !i.Here {
			mark = p.bad.Render("✗")
		}
		fmt.Fprintf(w, "%s %-*s  %s\n", mark, width, i.Name, i.Description)
		line := func(text string) { fmt.Fprintf(w, "  %-*s  %s\n", width, "", p.dim.Render(text)) }
		for _, s := range i.Servers {
			text := s.Title
			switch {
			case !s.Here:
				text += " is not here: " + s.Mend
			case s.Version != "":
				text += ": " + s.Version
			}
			line(text)
		}
		if i.NotRun != "" {
			line("not run here: " + i.NotRun)
		}
		for problem := range strings.Lines(i.Problem) {
			line(strings.TrimRight(problem, "\n"))
		}
	}
	fmt.Fprintf(w, "\nStart one with `dishmesh up --profile NAME`; several, laid over each other, as in --profile kafka,postgres.\n")
}
