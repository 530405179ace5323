package platform

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// logLimit is the size at which a log file is moved aside; two generations are kept.
const logLimit = 20 << 20

// openLog opens a log file that a child appends to directly, so that a child never waits for the supervisor.
func openLog(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	return f, nil
}

// rotateLog copies a log that has grown past limit to path.1 and empties it. Children keep their open file, whose
// appends then start again at the beginning.
func rotateLog(path string, limit int64) error {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) || (err == nil && info.Size() < limit) {
		return nil
	}
	if err != nil {
		return err
	}
	src, err := os.Open(path)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(path+".1", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		dst.Close()
		return err
	}
	if err := dst.Close(); err != nil {
		return err
	}
	return os.Truncate(path, 0)
}

// TailLines returns the last n lines of a file, reading no more than it has to.
func TailLines(path string, n int) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || n <= 0 {
		return nil, err
	}
	const block = 64 << 10
	var buf []byte
	for pos := info.Size(); pos > 0 && bytes.Count(buf, []byte("\n")) <= n; {
		size := min(block, pos)
		pos -= size
		chunk := make([]byte, size)
		if _, err := f.ReadAt(chunk, pos); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		buf = append(chunk, buf...)
	}
	var out []string
	for line := range bytes.Lines(buf) {
		out = append(out, string(bytes.TrimRight(line, "\r\n")))
	}
	if len(out) > n {
		out = out[len(out)-n:]
	}
	return out, nil
}
