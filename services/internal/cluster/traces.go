package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dishmesh/dishmesh/services/internal/cluster/tool"
)

// before is how the machine was when the private daemon was started for the first time, as far as a daemon changes it.
type before struct {
	// Forwarding is net.ipv4.ip_forward.
	Forwarding string `json:"ip_forward"`
	// Forward is the policy of the chain FORWARD.
	Forward string `json:"forward_policy"`
	// Rules are what was there already, maybe another daemon's, by program: left alone.
	Rules map[string]string `json:"rules"`
	// Cgroups tells that there were control groups of containers.
	Cgroups bool `json:"cgroups"`
	// Bridge tells that docker0 was there already.
	Bridge bool `json:"docker0"`
}

const forwarding = "/proc/sys/net/ipv4/ip_forward"

// remember writes down how the machine is, once.
func (d *daemon) remember(ctx context.Context) error {
	file := d.path("before.json")
	if exists(file) {
		return nil
	}
	var was before
	b, err := os.ReadFile(forwarding)
	if err != nil {
		return fmt.Errorf("read %s: %w", forwarding, err)
	}
	was.Forwarding = strings.TrimSpace(string(b))
	rules, err := d.rules(ctx, "iptables-save")
	if err != nil {
		return fmt.Errorf("the private docker daemon needs iptables: %w", err)
	}
	rules6, err := d.rules(ctx, "ip6tables-save")
	if err != nil {
		rules6 = "" // no IPv6 here
	}
	was.Rules = map[string]string{"iptables": rules, "ip6tables": rules6}
	was.Forward, was.Cgroups = forwardPolicy(rules), len(cgroups()) > 0
	was.Bridge = exists("/sys/class/net/docker0")
	out, err := json.MarshalIndent(was, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(out, '\n'), 0o600)
}

func (d *daemon) rules(ctx context.Context, program string) (string, error) {
	path, err := d.c.machine.LookPath(program)
	if err != nil {
		return "", err
	}
	out, err := d.c.run.Run(ctx, tool.Command{Name: path})
	return string(out), err
}

// forwardPolicy finds the policy of FORWARD in what iptables-save prints; without a table it is ACCEPT.
func forwardPolicy(save string) string {
	for line := range strings.SplitSeq(save, "\n") {
		if rest, ok := strings.CutPrefix(line, ":FORWARD "); ok {
			return strings.Fields(rest)[0]
		}
	}
	return "ACCEPT"
}

// ofDocker matches what names a chain or a bridge of docker in a rule.
var ofDocker = regexp.MustCompile(`\bDOCKER[A-Z0-9-]*\b|\bdocker0\b|\bbr-[0-9a-f]{12}\b`)

// undoRules are the calls of iptables, without its name, that remove what a docker daemon added to what was there before:
// rules first, then the chains that nothing refers to any more.
func undoRules(before, save string) [][]string {
	var rules, flush, drop [][]string
	had, table := map[string]bool{}, ""
	for line := range strings.SplitSeq(before, "\n") {
		if strings.HasPrefix(line, "*") {
			table = line[1:]
		}
		had[table+" "+chainOrRule(line)] = true
	}
	for line := range strings.SplitSeq(save, "\n") {
		switch {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
		case had[table+" "+chainOrRule(line)]:
		case strings.HasPrefix(line, ":DOCKER"):
			chain := strings.Fields(line[1:])[0]
			flush = append(flush, []string{"-t", table, "-F", chain})
			drop = append(drop, []string{"-t", table, "-X", chain})
		case strings.HasPrefix(line, "-A "):
			words := strings.Fields(line)
			if !strings.HasPrefix(words[1], "DOCKER") && ofDocker.MatchString(line) {
				rules = append(rules, slices.Concat([]string{"-t", table, "-D"}, words[1:]))
			}
		}
	}
	return slices.Concat(rules, flush, drop)
}

// chainOrRule is a line of iptables-save without a chain's counters.
func chainOrRule(line string) string {
	if strings.HasPrefix(line, ":") {
		chain, _, _ := strings.Cut(line, " ")
		return chain
	}
	return line
}

// erase takes back what the stopped daemon left on the machine: rules, bridges, mounts, cgroups, and its folder.
func (d *daemon) erase(ctx context.Context) error {
	var was before
	b, err := os.ReadFile(d.path("before.json"))
	if err == nil {
		err = json.Unmarshal(b, &was)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read how the machine was: %w", err)
	}
	var wrong []error
	if err == nil {
		wrong = append(wrong, d.eraseRules(ctx, was))
	}
	if err == nil && !was.Bridge && exists("/sys/class/net/docker0") {
		_, e := d.c.run.Run(ctx, tool.Command{Name: "ip", Args: []string{"link", "delete", "docker0"}})
		wrong = append(wrong, e)
	}
	if err == nil && was.Forwarding == "0" {
		wrong = append(wrong, os.WriteFile(forwarding, []byte("0\n"), 0o644))
	}
	wrong = append(wrong, unmountBelow(d.dir))
	if err == nil && !was.Cgroups {
		eraseCgroups()
	}
	wrong = append(wrong, os.RemoveAll(d.dir))
	return errors.Join(wrong...)
}

func (d *daemon) eraseRules(ctx context.Context, was before) error {
	var wrong []error
	for _, program := range []string{"iptables", "ip6tables"} {
		save, err := d.rules(ctx, program+"-save")
		if err != nil {
			continue // without the program there are no rules of it
		}
		path, err := d.c.machine.LookPath(program)
		if err != nil {
			continue
		}
		for _, args := range undoRules(was.Rules[program], save) {
			_, err := d.c.run.Run(ctx, tool.Command{Name: path, Args: args})
			wrong = append(wrong, err)
		}
		if program == "iptables" && forwardPolicy(save) != was.Forward {
			_, err := d.c.run.Run(ctx, tool.Command{Name: path, Args: []string{"-P", "FORWARD", was.Forward}})
			wrong = append(wrong, err)
		}
	}
	return errors.Join(wrong...)
}

// unmountBelow unmounts everything below a folder, the deepest first.
func unmountBelow(dir string) error {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if errors.Is(err, os.ErrNotExist) {
		return nil // not Linux
	}
	if err != nil {
		return err
	}
	var wrong []error
	for _, point := range mountsBelow(b, dir) {
		if err := unix.Unmount(point, unix.UMOUNT_NOFOLLOW); err != nil {
			wrong = append(wrong, fmt.Errorf("unmount %s: %w", point, err))
		}
	}
	return errors.Join(wrong...)
}

// mountsBelow lists the mount points below a folder in the order in which they can be unmounted, from
// /proc/self/mountinfo (see proc(5); a space in a path is \040).
func mountsBelow(mountinfo []byte, dir string) []string {
	var points []string
	for line := range bytes.Lines(mountinfo) {
		fields := strings.Fields(string(line))
		if len(fields) < 5 {
			continue
		}
		point := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\134`, `\`).Replace(fields[4])
		if strings.HasPrefix(point, dir+"/") {
			points = append(points, point)
		}
	}
	slices.Reverse(points)
	return points
}

// cgroups are the control groups that dockers make for containers.
func cgroups() []string {
	roots, _ := filepath.Glob("/sys/fs/cgroup/*/docker") // the pattern is well formed
	if exists("/sys/fs/cgroup/docker") {
		roots = append(roots, "/sys/fs/cgroup/docker")
	}
	return roots
}

// eraseCgroups removes the empty control groups that containers left.
func eraseCgroups() {
	for _, root := range cgroups() {
		var dirs []string
		_ = filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		slices.Reverse(dirs)
		for _, dir := range dirs {
			_ = os.Remove(dir) // one that is in use stays, and is not ours
		}
	}
}
