package cluster

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// machine is what the checks ask about the machine; tests answer for it.
type machine interface {
	// System is the operating system as Go names it.
	System() string
	// Memory returns the bytes that programs can still have; ok is false where that can't be known.
	Memory() (available uint64, ok bool)
	// Disk returns the bytes that are free where a path lies or will lie.
	Disk(path string) (uint64, error)
	// PortFree reports whether the port can be listened on at the loopback interface.
	PortFree(port int) bool
	// LookPath finds a program, also in the folders of programs that only root has on its PATH.
	LookPath(name string) (string, error)
	// Root reports whether this process is root.
	Root() bool
	// MayRaiseLimits reports whether a container can have CAP_SYS_RESOURCE here, which a privileged one asks for.
	MayRaiseLimits() bool
	// DockerDaemons are the processes of docker daemons, whoever started them.
	DockerDaemons() []int
	// Watches is the limit on inotify instances per user; 0 where there is none.
	Watches() int
}

// thisMachine is the one that the program runs on.
type thisMachine struct{}

func (thisMachine) System() string { return runtime.GOOS }

func (thisMachine) Memory() (uint64, bool) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		var kib uint64
		if n, _ := fmt.Sscanf(sc.Text(), "MemAvailable: %d kB", &kib); n == 1 {
			return kib << 10, true
		}
	}
	return 0, false
}

func (thisMachine) Disk(path string) (uint64, error) {
	for {
		var st unix.Statfs_t
		err := unix.Statfs(path, &st)
		if err == nil {
			return uint64(st.Bavail) * uint64(st.Bsize), nil
		}
		if up := filepath.Dir(path); up != path && os.IsNotExist(err) {
			path = up
			continue
		}
		return 0, fmt.Errorf("free space of %s: %w", path, err)
	}
}

func (thisMachine) PortFree(port int) bool {
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	ln.Close()
	return true
}

func (thisMachine) LookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if p, e := exec.LookPath(filepath.Join(dir, name)); e == nil {
			return p, nil
		}
	}
	return "", err
}

func (thisMachine) Root() bool { return os.Geteuid() == 0 }

// capSysResource is the number of CAP_SYS_RESOURCE, see capabilities(7).
const capSysResource = 24

func (thisMachine) MayRaiseLimits() bool {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return true
	}
	return boundingSet(string(b))&(1<<capSysResource) != 0
}

// boundingSet reads the capabilities that no process of this machine can go beyond from /proc/self/status.
func boundingSet(status string) uint64 {
	for line := range strings.SplitSeq(status, "\n") {
		if hex, ok := strings.CutPrefix(line, "CapBnd:"); ok {
			if set, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64); err == nil {
				return set
			}
		}
	}
	return ^uint64(0)
}

func (thisMachine) DockerDaemons() []int {
	var pids []int
	names, _ := filepath.Glob("/proc/[0-9]*/comm") // the pattern is well formed
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil || strings.TrimSpace(string(b)) != "dockerd" {
			continue // it may have ended meanwhile
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (thisMachine) Watches() int {
	b, err := os.ReadFile("/proc/sys/fs/inotify/max_user_instances")
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b))) // 0 for what is no number
	return n
}
