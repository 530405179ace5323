package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// daemon is the private docker daemon of a data folder: data, sockets, pid and log lie in one folder, so that removing
// the cluster removes all of it.
type daemon struct {
	c   *Cluster
	dir string
}

func (c *Cluster) daemon() *daemon { return &daemon{c: c, dir: c.files.Docker()} }

func (d *daemon) path(name string) string { return filepath.Join(d.dir, name) }
func (d *daemon) host() string            { return "unix://" + d.path("sock") }

// made reports whether the daemon was started on this data folder at some time.
func (d *daemon) made() bool { return exists(d.path("daemon.json")) }

// maxSocketFolder is how long the folder's path may be: a socket's is at most 107 bytes, and containerd puts one into
// exec/containerd.
const maxSocketFolder = 107 - len("/exec/containerd/containerd.sock.ttrpc")

// possible says what keeps a private daemon from running here.
func (d *daemon) possible() error {
	m := d.c.machine
	switch {
	case m.System() != "linux":
		return errors.New("docker does not run: start Docker Desktop, or what you use in its place")
	case !m.Root():
		return errors.New("docker does not run: start it (`sudo systemctl start docker`); as root a private one would be started")
	case len(d.dir) > maxSocketFolder:
		return fmt.Errorf("docker does not run, and the path %s is too long for the sockets of a private daemon: start docker, or give a shorter --data", d.dir)
	}
	var missing []string
	for _, name := range []string{"dockerd", "containerd", "runc", "iptables"} {
		if _, err := m.LookPath(name); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("docker does not run, and a private one needs what is not installed (%s): install Docker Engine (on Debian `apt-get install docker.io`)", strings.Join(missing, ", "))
	}
	return nil
}

// config is the daemon's configuration file. Nothing of the machine's own docker is read or written.
func (d *daemon) config() map[string]any {
	conf := map[string]any{
		"data-root": d.path("data"), "exec-root": d.path("exec"), "pidfile": d.path("pid"), "hosts": []string{d.host()},
	}
	if !d.c.machine.MayRaiseLimits() {
		conf["runtimes"] = map[string]any{"capped": map[string]any{"path": filepath.Join(d.c.cfg.Home, runtimeWrapper)}}
		conf["default-runtime"] = "capped"
	}
	return conf
}

// start runs the daemon in the background and waits until it answers.
func (d *daemon) start(ctx context.Context) error {
	if err := os.MkdirAll(d.dir, 0o711); err != nil {
		return fmt.Errorf("cannot write the data folder: %w; choose another with --data", err)
	}
	if err := d.remember(ctx); err != nil {
		return err
	}
	b, err := json.MarshalIndent(d.config(), "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(d.path("daemon.json"), append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the docker daemon's configuration: %w", err)
	}
	dockerd, err := d.c.machine.LookPath("dockerd")
	if err != nil {
		return fmt.Errorf("the private docker daemon cannot be started: %w", err)
	}
	log, err := os.OpenFile(d.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(dockerd, "--config-file", d.path("daemon.json"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives this program
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the private docker daemon: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for {
		select {
		case <-tick.C:
			if d.c.answers(ctx, d.host()) {
				return nil
			}
		case <-ended:
			return fmt.Errorf("the private docker daemon ended: %s", d.lastLine())
		case <-deadline:
			_ = cmd.Process.Signal(syscall.SIGTERM) // it may have gone meanwhile
			return fmt.Errorf("the private docker daemon does not answer after a minute: %s", d.lastLine())
		case <-ctx.Done():
			_ = cmd.Process.Signal(syscall.SIGTERM) // likewise
			<-ended
			return context.Cause(ctx)
		}
	}
}

// lastLine is the end of the daemon's log, without its time.
func (d *daemon) lastLine() string {
	b, err := os.ReadFile(d.path("log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	last := lines[len(lines)-1]
	if _, msg, ok := strings.Cut(last, "msg="); ok {
		last = msg
	}
	return fmt.Sprintf("%s (all of it in %s)", last, d.path("log"))
}

// pid is the running daemon's, 0 when none runs.
func (d *daemon) pid() int {
	b, err := os.ReadFile(d.path("pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 1 {
		return 0
	}
	// A pid file that a crash left may name another process by now.
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.Contains(string(line), d.path("daemon.json")) {
		return 0
	}
	return pid
}

// stop ends the daemon and waits for it.
func (d *daemon) stop(ctx context.Context) error {
	pid := d.pid()
	if pid == 0 {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop the private docker daemon: %w", err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(40 * time.Second)
	for d.pid() != 0 {
		select {
		case <-tick.C:
		case <-deadline:
			return fmt.Errorf("the private docker daemon, process %d, does not end: see %s", pid, d.path("log"))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
