package cluster

import "golang.org/x/sys/unix"

// unmount takes a mount away and follows no link.
func unmount(point string) error { return unix.Unmount(point, unix.UMOUNT_NOFOLLOW) }
