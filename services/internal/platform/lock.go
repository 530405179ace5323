package platform

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// HeldError is the refusal to use a data folder that another supervisor holds.
type HeldError struct {
	Data string
	// PID is the holder, 0 when it could not be read.
	PID int
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("the data folder %s is in use by process %d: run `dishmesh down --data %s`, or choose another folder with --data", e.Data, e.PID, e.Data)
}

// lockData takes the data folder for this process. The kernel lets the lock go when the process ends, however it
// ends, so there is never a stale one.
func lockData(l Layout) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(l.Run(), "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock the data folder: %w", err)
		}
		buf := make([]byte, 32)
		n, _ := f.ReadAt(buf, 0)
		pid, _ := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
		return nil, &HeldError{Data: l.Data, PID: pid}
	}
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	return f, nil
}

// Holder returns the pid of the supervisor that holds the data folder; ok is false when nobody does.
func Holder(l Layout) (pid int, ok bool) {
	f, err := lockData(l)
	if err == nil {
		f.Close()
		return 0, false
	}
	var held *HeldError
	if errors.As(err, &held) {
		return held.PID, true
	}
	return 0, false
}
