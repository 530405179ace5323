package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/audit"
	"github.com/dishmesh/dishmesh/services/internal/chaos"
	"github.com/dishmesh/dishmesh/services/internal/crash"
	"github.com/dishmesh/dishmesh/services/internal/customer"
	"github.com/dishmesh/dishmesh/services/internal/load"
	"github.com/dishmesh/dishmesh/services/internal/platform"
)

// chaosPatience is how long a customer repeats a request that is not answered: longer than anything stays away.
const chaosPatience = 3 * time.Minute

// crashFolder is where crash points are armed, below the data folder.
const crashFolder = "run/crash"

// ownPlatform says what a platform must be like that is started for the runs.
type ownPlatform struct {
	profile   string
	ports     [2]int // of the gateway and the city; 0: free ones
	crashable bool   // its services can be crashed
	customers int    // default 4
}

// chaosSite is a platform with its crowd.
type chaosSite struct {
	chaos.Site
	crowd   crowd
	data    string
	profile string
	own     bool
	say     io.Writer
}

// openChaosSite takes the platform that runs on data, or starts one. The caller closes it.
func openChaosSite(ctx context.Context, say io.Writer, data string, want ownPlatform) (s *chaosSite, err error) {
	s = &chaosSite{say: say, own: data == ""}
	if s.own {
		if s.data, err = os.MkdirTemp("", "dishmesh-chaos-"); err != nil {
			return nil, err
		}
		fmt.Fprintln(say, "starting a platform in", s.data)
		if err = want.start(ctx, s.data); err != nil {
			return nil, errors.Join(err, s.stop())
		}
	} else if s.data, err = filepath.Abs(data); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && s.own {
			err = errors.Join(err, s.stop())
		}
	}()
	info, err := running(s.data)
	if err != nil {
		return nil, err
	}
	s.profile = info.Profile
	site := customer.Site{URL: info.GatewayURL, Patience: chaosPatience}
	if s.crowd, err = gather(ctx, say, site, s.data, max(4, want.customers)); err != nil {
		return nil, err
	}
	s.Site = chaos.Site{Supervisor: platform.Connect(s.data), Load: s.load, Audit: s.audit}
	return s, s.Healthy(ctx)
}

func (s *chaosSite) crashPoints() string { return filepath.Join(s.data, crashFolder) }

func (s *chaosSite) load(ctx context.Context, cfg load.Config) (load.Report, error) {
	cfg.Customers, cfg.Town, cfg.Journal = s.crowd.customers, s.crowd.town, s.crowd.journal
	return load.New(cfg).Run(ctx)
}

func (s *chaosSite) audit(ctx context.Context, wait time.Duration, since time.Time) (audit.Report, error) {
	cfg := auditConfig(s.data)
	cfg.Wait, cfg.Since = wait, since
	return audit.Run(ctx, cfg)
}

// close ends the platform of its own. Its data stay if something is red.
func (s *chaosSite) close(green bool) error {
	err := s.crowd.journal.Close()
	if !s.own {
		return err
	}
	err = errors.Join(err, s.stop())
	if err != nil || !green {
		fmt.Fprintln(s.say, "data and logs are kept in", s.data)
		return err
	}
	return os.RemoveAll(s.data)
}

// start starts a platform in the background, as a user would, with what keeps runs short.
func (o ownPlatform) start(ctx context.Context, data string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	args := []string{"up", "--detach", "--data", data, "--profile", o.profile, "--time-scale", "0",
		"--set", "order.DISPATCH_DEADLINE=3s"}
	for i, flag := range []string{"--port", "--city-port"} {
		if o.ports[i] != 0 {
			args = append(args, flag, strconv.Itoa(o.ports[i]))
		}
	}
	if o.crashable {
		dir, err := buildCrashable(ctx)
		if err != nil {
			return err
		}
		args = append(args, "--bin", dir)
		for _, service := range chaos.Owners() {
			args = append(args, "--set", service+"."+crash.FolderVariable+"="+crashFolder)
		}
	}
	return quietly(exec.CommandContext(ctx, self, args...))
}

// stop stops the platform of its own, also when the context of the command has ended.
func (s *chaosSite) stop() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return quietly(exec.CommandContext(ctx, self, "down", "--data", s.data))
}

// buildCrashable builds the services with the tag faults.
func buildCrashable(ctx context.Context) (string, error) {
	home, err := platform.FindHome()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(home.Dir, "bin", "faults")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	args := []string{"build", "-tags", "faults", "-o", dir + string(filepath.Separator)}
	for _, app := range platform.Apps() {
		args = append(args, "./services/cmd/"+app)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = home.Dir
	return dir, quietly(cmd)
}

// quietly runs a program, of which people want to hear only if it fails.
func quietly(cmd *exec.Cmd) error {
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return fmt.Errorf("%s %s: %s", filepath.Base(cmd.Path), cmd.Args[1], lines[len(lines)-1])
}
