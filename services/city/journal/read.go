package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Read hands every complete line of the file at path to each. It changes nothing and may be used while the
// journal is being written: a last line without its end is left out. A file that does not exist is empty.
func Read(path string, each func(line []byte) error) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	defer f.Close()
	_, _, err = scan(f, path, each)
	return err
}

// scan reads lines up to the end or to a torn last line. good is the length of the part that is whole.
func scan(f *os.File, path string, each func([]byte) error) (good, size int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, fmt.Errorf("journal: %w", err)
	}
	size = info.Size()
	r := bufio.NewReaderSize(io.LimitReader(f, size), 64<<10)
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return good, size, nil // what is left has no end: torn, or nothing
		}
		if err != nil {
			return 0, 0, fmt.Errorf("journal: %w", err)
		}
		end := good + int64(len(line))
		text := bytes.TrimSpace(line)
		if !json.Valid(text) {
			if end == size {
				return good, size, nil // a crash of the machine can leave a last block of zeros
			}
			return 0, 0, fmt.Errorf("journal %s: line %d is damaged: move the file away, or mend the line", path, n)
		}
		if each != nil {
			if err := each(text); err != nil {
				return 0, 0, fmt.Errorf("journal %s: line %d: %w", path, n, err)
			}
		}
		good = end
	}
}
