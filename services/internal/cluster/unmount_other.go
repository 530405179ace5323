//go:build !linux

package cluster

import "errors"

// unmount is never needed here: a private daemon runs on Linux alone.
func unmount(string) error { return errors.ErrUnsupported }
