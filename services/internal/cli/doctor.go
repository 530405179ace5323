package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/dishmesh/dishmesh/services/internal/daprruntime"
	"github.com/dishmesh/dishmesh/services/internal/platform"
)

// check is one thing that a run needs. The keys are stable.
type check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Must is false where a run works without, only worse.
	Must   bool   `json:"must"`
	Detail string `json:"detail"`
	// Mend says what to do when it is not OK.
	Mend string `json:"mend,omitempty"`
}

func newDoctor() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "doctor",
		GroupID: groupPlatform,
		Short:   "Check what a run needs and say how to mend it",
		Long: `Checks Go, the Dapr runtime, disk, memory, ports, the data folder and the limit on open files.

JSON keys: ok and checks [{name, ok, must, detail, mend}]. Exit codes: 0 a run will work, 1 something that it must
have is missing.`,
		Args: cobra.NoArgs,
	}
	data := addDataFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := data()
		if err != nil {
			return err
		}
		checks := examine(cmd.Context(), dir)
		ok := true
		for _, c := range checks {
			ok = ok && (c.OK || !c.Must)
		}
		if asJSON {
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			if err := enc.Encode(map[string]any{"ok": ok, "checks": checks}); err != nil {
				return err
			}
		} else {
			printChecks(cmd.OutOrStdout(), checks)
		}
		if !ok {
			return &ExitError{Code: ExitFailed}
		}
		return nil
	}
	return cmd
}

func printChecks(w io.Writer, checks []check) {
	p := newPalette(w)
	for _, c := range checks {
		mark := p.good.Render("ok  ")
		switch {
		case !c.OK && c.Must:
			mark = p.bad.Render("bad ")
		case !c.OK:
			mark = "note"
		}
		fmt.Fprintf(w, "%s  %-12s %s\n", mark, c.Name, c.Detail)
		if !c.OK {
			fmt.Fprintf(w, "      %-12s %s\n", "", c.Mend)
		}
	}
}

func examine(ctx context.Context, data string) []check {
	home, err := platform.FindHome()
	if err != nil {
		return []check{{Name: "checkout", Must: true, Detail: "not found", Mend: err.Error()}}
	}
	checks := []check{{Name: "checkout", OK: true, Must: true, Detail: home.Dir}}
	runtimeCheck := checkRuntime(ctx, home)
	goCheck := checkGo(ctx, home)
	// With the runtime and the services built, nothing needs Go any more.
	goCheck.Must = !runtimeCheck.OK
	checks = append(checks, goCheck, runtimeCheck, checkDisk(data, runtimeCheck.OK), checkMemory())
	running := false
	if layout, err := platform.OpenLayout(data); err != nil {
		checks = append(checks, check{Name: "data folder", Must: true, Detail: data, Mend: err.Error()})
	} else {
		c := check{Name: "data folder", OK: true, Must: true, Detail: data + " is writable"}
		var pid int
		if pid, running = platform.Holder(layout); running {
			c.Detail = fmt.Sprintf("%s is in use by process %d", data, pid)
		}
		checks = append(checks, c)
	}
	if !running {
		checks = append(checks, checkPort("gateway port", platform.DefaultGatewayPort, "--port"), checkPort("city port", platform.DefaultCityPort, "--city-port"))
	}
	return append(checks, checkFiles())
}

func checkGo(ctx context.Context, home platform.Home) check {
	c := check{Name: "go"}
	v, err := daprruntime.GoVersion(ctx, home.RuntimeModule())
	if err != nil {
		c.Detail, c.Mend = "not usable", err.Error()
		return c
	}
	c.OK, c.Detail = true, v
	return c
}

func checkRuntime(ctx context.Context, home platform.Home) check {
	c := check{Name: "runtime"}
	rt, err := daprruntime.Find(ctx, daprruntime.Options{ModuleDir: home.RuntimeModule()})
	switch {
	case errors.Is(err, daprruntime.ErrNotBuilt):
		c.Detail, c.Mend = "Dapr "+daprruntime.Version+" is not built yet", "the first `dishmesh up` builds it, about 7 minutes on 2 cores"
	case err != nil:
		c.Detail, c.Mend = "not usable", err.Error()
	default:
		c.OK, c.Detail = true, fmt.Sprintf("Dapr %s in %s", daprruntime.Version, rt.Dir)
	}
	return c
}

func checkDisk(data string, built bool) check {
	need := uint64(1) << 30
	if !built {
		need = 5 << 30
	}
	c := check{Name: "disk", Must: true, Mend: "make room, or choose another disk with --data (and XDG_CACHE_HOME, GOCACHE)"}
	dir := data
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		c.Detail = err.Error()
		return c
	}
	free := uint64(st.Bavail) * uint64(st.Bsize)
	c.OK = free >= need
	c.Detail = fmt.Sprintf("%.1f GB free, %d GB needed", float64(free)/(1<<30), need>>30)
	return c
}

func checkMemory() check {
	c := check{Name: "memory", Mend: "close other programs: the platform rests below 2 GB and builds with about 2 GB"}
	total, available, err := memory()
	if err != nil {
		c.OK, c.Detail = true, "unknown"
		return c
	}
	c.OK = available >= 2<<30
	c.Detail = fmt.Sprintf("%.1f of %.1f GB available", float64(available)/(1<<30), float64(total)/(1<<30))
	return c
}

func checkPort(name string, port int, flag string) check {
	c := check{Name: name, OK: true, Detail: strconv.Itoa(port) + " is free"}
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		c.OK, c.Detail, c.Mend = false, strconv.Itoa(port)+" is busy", "a free port is taken instead; choose one with `dishmesh up "+flag+" N`"
		return c
	}
	ln.Close()
	return c
}

func checkFiles() check {
	const need = 1024
	c := check{Name: "open files", Must: true, Mend: fmt.Sprintf("run `ulimit -n %d` first", 4*need)}
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		c.Detail = err.Error()
		return c
	}
	c.OK = lim.Max >= need
	c.Detail = fmt.Sprintf("at most %d in one process", lim.Max)
	return c
}
