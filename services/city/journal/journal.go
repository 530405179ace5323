// Package journal keeps append-only files of JSON lines that survive a kill -9 of their writer. Appends that
// arrive together share one write and one fsync, so that durability costs a concurrent load little.
package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// ErrClosed is what an append to a closed journal gets.
var ErrClosed = errors.New("the journal is closed")

// Sync says how far an append must have come before it counts as done.
type Sync int

const (
	// Buffered is done once the kernel has the line: it survives the death of the process, not of the machine.
	Buffered Sync = iota
	// Durable is done once the line is on the disk (fsync).
	Durable
)

// Journal is an open file of JSON lines. It is safe for use by several goroutines.
type Journal struct {
	path string
	sync Sync
	file *os.File

	mu     sync.Mutex
	open   *Commit // the batch that collects, nil when there is none
	err    error   // the first failure: nothing is written after it
	closed bool

	wake   chan struct{}
	done   chan struct{}
	failed chan struct{}
}

// Commit is the fate of one batch of appends.
type Commit struct {
	buf  bytes.Buffer
	done chan struct{}
	err  error
}

// Wait returns once the append is as safe as the journal's Sync promises, or has failed.
func (c *Commit) Wait() error {
	<-c.done
	return c.err
}

// Open opens the journal at path, makes it and its folder if they are missing, and hands every complete line
// to each. A last line that a crash has torn is cut off; torn says how many bytes it had. Any other line that
// is no JSON is an error that names the line, because a book with a hole in it must not be carried on.
func Open(path string, mode Sync, each func(line []byte) error) (j *Journal, torn int64, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, 0, fmt.Errorf("journal: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("journal: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close() // the error that is returned says more
		}
	}()
	good, size, err := scan(f, path, each)
	if err != nil {
		return nil, 0, err
	}
	if good < size {
		if err := f.Truncate(good); err != nil {
			return nil, 0, fmt.Errorf("journal: cut off the torn last line: %w", err)
		}
	}
	if _, err := f.Seek(good, io.SeekStart); err != nil {
		return nil, 0, fmt.Errorf("journal: %w", err)
	}
	if mode == Durable {
		if err := errors.Join(f.Sync(), syncDir(filepath.Dir(path))); err != nil {
			return nil, 0, fmt.Errorf("journal: %w", err)
		}
	}
	j = &Journal{
		path: path, sync: mode, file: f,
		wake: make(chan struct{}, 1), done: make(chan struct{}), failed: make(chan struct{}),
	}
	go j.write()
	return j, size - good, nil
}

// Append queues v as one line and returns at once; Wait on the result tells when it is safe. Lines stand in
// the file in the order of the calls.
func (j *Journal) Append(v any) (*Commit, error) {
	line, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.err != nil:
		return nil, j.err
	case j.closed:
		return nil, ErrClosed
	}
	if j.open == nil {
		j.open = &Commit{done: make(chan struct{})}
		select {
		case j.wake <- struct{}{}:
		default:
		}
	}
	j.open.buf.Write(line)
	j.open.buf.WriteByte('\n')
	return j.open, nil
}

// Write appends v and waits until it is safe.
func (j *Journal) Write(v any) error {
	c, err := j.Append(v)
	if err != nil {
		return err
	}
	return c.Wait()
}

// Failed is closed when a write has failed, for a disk that is full or gone. What the owner holds in memory
// may be ahead of the file then: it has to stop and start again from the file. Err gives the cause.
func (j *Journal) Failed() <-chan struct{} { return j.failed }

// Err is the failure that ended the journal, or nil.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// Close writes what is queued and closes the file.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true
	j.mu.Unlock()
	close(j.wake)
	<-j.done
	return errors.Join(j.Err(), j.file.Close())
}

// write is the one goroutine that touches the file: while it syncs one batch, the next collects.
func (j *Journal) write() {
	defer close(j.done)
	for range j.wake {
		j.flush()
	}
	j.flush()
}

func (j *Journal) flush() {
	j.mu.Lock()
	batch, err := j.open, j.err
	j.open = nil
	j.mu.Unlock()
	if batch == nil {
		return
	}
	if err == nil {
		if _, werr := j.file.Write(batch.buf.Bytes()); werr != nil {
			err = werr
		} else if j.sync == Durable {
			err = j.file.Sync()
		}
		if err != nil {
			err = fmt.Errorf("journal %s can't be written: %w", j.path, err)
			j.mu.Lock()
			j.err = err
			j.mu.Unlock()
			close(j.failed)
		}
	}
	batch.err = err
	batch.buf = bytes.Buffer{}
	close(batch.done)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
