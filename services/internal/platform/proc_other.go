//go:build !linux

package platform

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// childAttr puts a child in a process group of its own, so that Ctrl-C reaches only the supervisor. Where the kernel
// cannot tie a child to its parent, the next start ends what a killed supervisor left.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// processIdentity tells one process from a later one with the same pid: start time and program.
func processIdentity(pid int) (string, error) {
	out, err := exec.Command("ps", "-o", "lstart=,comm=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return "", os.ErrProcessDone
	}
	id := strings.Join(strings.Fields(string(out)), " ")
	if id == "" {
		return "", os.ErrProcessDone
	}
	return id, nil
}

// residentBytes returns the resident memory of processes; those that ended are left out.
func residentBytes(pids []int) map[int]int64 {
	list := make([]string, len(pids))
	for i, pid := range pids {
		list[i] = strconv.Itoa(pid)
	}
	out := make(map[int]int64, len(pids))
	b, err := exec.Command("ps", "-o", "pid=,rss=", "-p", strings.Join(list, ",")).Output()
	if err != nil {
		return out
	}
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		var pid int
		var kib int64
		if _, err := fmt.Sscan(sc.Text(), &pid, &kib); err == nil {
			out[pid] = kib << 10
		}
	}
	return out
}
