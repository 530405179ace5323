package platform

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// childAttr puts a child in a process group of its own, so that Ctrl-C reaches only the supervisor, and has the
// kernel kill it when the supervisor dies.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

var bootID = sync.OnceValue(func() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
})

// processIdentity tells one process from a later one with the same pid: boot, start time and program.
func processIdentity(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The name in brackets may hold anything; the fields after it are numbers. Start time is field 22, state field 3.
	end := bytes.LastIndexByte(b, ')')
	fields := strings.Fields(string(b[end+1:]))
	if end < 0 || len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat is unreadable", pid)
	}
	if fields[0] == "Z" {
		return "", os.ErrProcessDone
	}
	return bootID() + " " + fields[19], nil
}

// residentBytes returns the resident memory of processes; those that ended are left out.
func residentBytes(pids []int) map[int]int64 {
	out := make(map[int]int64, len(pids))
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if err != nil {
			continue
		}
		if fields := strings.Fields(string(b)); len(fields) > 1 {
			if pages, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
				out[pid] = pages * int64(os.Getpagesize())
			}
		}
	}
	return out
}
