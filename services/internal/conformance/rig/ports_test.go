package rig

import (
	"os/exec"
	"sync"
	"testing"
)

// TestListen picks ports and listens on them while other goroutines start processes, as checks side by side do: without
// listen's patience about one in a hundred is busy.
func TestListen(t *testing.T) {
	stop := make(chan struct{})
	var forks sync.WaitGroup
	defer forks.Wait()
	defer close(stop)
	for range 4 {
		forks.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if err := exec.Command("true").Run(); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	var p ports
	for range 2000 {
		port, err := p.pick()
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the application's start, and its start after a kill
			ln, err := listen(port)
			if err != nil {
				t.Fatal(err)
			}
			if err := ln.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
