package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// tailBytes is how far back from its end a log is read.
	tailBytes = 512 << 10
	// tailLines bounds what is shown of one log.
	tailLines = 12
	lineBytes = 400
)

// logTail gives the last warnings and errors of each process since a time, and the end of the supervisor's own log.
func (s *site) logTail(since time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "warnings and errors in %s:\n", filepath.Join(s.data, "logs"))
	files, err := filepath.Glob(filepath.Join(s.data, "logs", "*.log"))
	if err != nil {
		return err.Error()
	}
	for _, file := range files {
		lines, err := lastLines(file)
		if err != nil {
			fmt.Fprintf(&b, "  %v\n", err)
			continue
		}
		var grave []string
		for _, line := range lines {
			if filepath.Base(file) == "up.log" || isGrave(line, since) {
				grave = append(grave, line)
			}
		}
		for _, line := range grave[max(0, len(grave)-tailLines):] {
			fmt.Fprintf(&b, "  %s: %s\n", filepath.Base(file), line[:min(len(line), lineBytes)])
		}
	}
	return b.String()
}

// isGrave tells whether a line of a log is a warning or worse and not older than since. Of the lines that are no JSON
// those of a panic count. The warnings of the Dapr runtime, which writes "warning", are about what is as it should be.
func isGrave(line string, since time.Time) bool {
	var entry struct {
		Time  time.Time `json:"time"`
		Level string    `json:"level"`
	}
	if json.Unmarshal([]byte(line), &entry) != nil {
		return strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")
	}
	switch strings.ToLower(entry.Level) {
	case "warn", "error", "fatal":
		return !entry.Time.Before(since)
	}
	return false
}

func lastLines(file string) (lines []string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	from := max(0, info.Size()-tailBytes)
	buf := make([]byte, info.Size()-from)
	n, err := f.ReadAt(buf, from)
	if n < len(buf) {
		return nil, err
	}
	text := string(buf)
	if from > 0 {
		_, text, _ = strings.Cut(text, "\n")
	}
	return strings.Split(strings.TrimSpace(text), "\n"), nil
}
