package platform

import (
	"os/exec"
	"runtime"
)

// spawner starts processes on one operating system thread that lives as long as the supervisor: Linux ends a child
// with the thread that made it, not with the process.
type spawner struct{ requests chan spawnRequest }

type spawnRequest struct {
	cmd  *exec.Cmd
	done chan error
}

func newSpawner() *spawner {
	s := &spawner{requests: make(chan spawnRequest)}
	go func() {
		runtime.LockOSThread()
		for r := range s.requests {
			r.done <- r.cmd.Start()
		}
	}()
	return s
}

func (s *spawner) start(cmd *exec.Cmd) error {
	r := spawnRequest{cmd: cmd, done: make(chan error, 1)}
	s.requests <- r
	return <-r.done
}

// close lets the thread go; every child must have ended.
func (s *spawner) close() { close(s.requests) }
