//go:build !linux

package cli

import "golang.org/x/sys/unix"

// memory returns the bytes of memory in all; how much of it is free is not known here, so all counts as available.
func memory() (total, available uint64, err error) {
	total, err = unix.SysctlUint64("hw.memsize")
	return total, total, err
}
