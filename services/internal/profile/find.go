package profile

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// local is an address on this machine, which is where every server that the platform starts listens.
func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// findProgram looks for a program on the PATH and then in folders, which may hold patterns; of several matches of a
// pattern the last one counts, which is the highest version.
func findProgram(name string, folders ...string) (string, bool) {
	if path, err := exec.LookPath(name); err == nil {
		return path, true
	}
	for _, folder := range folders {
		found, err := filepath.Glob(filepath.Join(folder, name))
		if err == nil && len(found) > 0 {
			return found[len(found)-1], true
		}
	}
	return "", false
}

// versionOf runs a program to ask for its version and takes the first line of the answer.
func versionOf(ctx context.Context, path string, args ...string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

// install says how to get what is missing: with the project's script, or on Debian by hand.
func install(name, debian string) string {
	if debian == "" {
		return "run `components/servers.sh " + name + "`"
	}
	return fmt.Sprintf("run `components/servers.sh %s`, or install %s", name, debian)
}

// dialReady is ready when something listens.
func dialReady(addr string) func(context.Context) error {
	return func(ctx context.Context) error {
		d := net.Dialer{Timeout: 2 * time.Second}
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// asUser is the credential of the first of the users that exists, for programs that refuse to run as root; nil when
// the caller is not root.
func asUser(names ...string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), NoSetGroups: false}, nil
	}
	return nil, fmt.Errorf("this program does not run as root, and none of the users %s is here: create one", strings.Join(names, ", "))
}

// giveTo hands a folder to another user and opens the way to it, for passing through only.
func giveTo(dir string, to *syscall.Credential) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if to == nil {
		return nil
	}
	if err := os.Chown(dir, int(to.Uid), int(to.Gid)); err != nil {
		return err
	}
	for up := filepath.Dir(dir); up != filepath.Dir(up); up = filepath.Dir(up) {
		info, err := os.Stat(up)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 != 0 {
			continue
		}
		// A folder of the platform is opened; one above it belongs to somebody else.
		if !ours(up) {
			return fmt.Errorf("the server runs as user %d, which may not enter %s: choose a data folder elsewhere with --data", to.Uid, up)
		}
		if err := os.Chmod(up, info.Mode().Perm()|0o011); err != nil {
			return err
		}
	}
	return nil
}

// ours reports whether a folder is a data folder of the platform or below one: it, or one above it, holds run/lock.
func ours(dir string) bool {
	for up := dir; ; up = filepath.Dir(up) {
		if _, err := os.Stat(filepath.Join(up, "run", "lock")); err == nil {
			return true
		}
		if up == filepath.Dir(up) {
			return false
		}
	}
}

// writeConfig writes a configuration file that may hold the password.
func writeConfig(path, content string, owner *syscall.Credential) error {
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return err
	}
	if owner == nil {
		return nil
	}
	return os.Chown(path, int(owner.Uid), int(owner.Gid))
}

// runOnce runs a program to its end; its output is in the error.
func runOnce(ctx context.Context, cred *syscall.Credential, dir string, env []string, path string, args ...string) error {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	out, err := cmd.CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%s: %w: %s", filepath.Base(path), err, lines[len(lines)-1])
	}
	return nil
}
