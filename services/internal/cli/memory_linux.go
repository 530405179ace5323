package cli

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// memory returns the bytes of memory in all and those that programs can have.
func memory() (total, available uint64, err error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		var kib uint64
		switch {
		case strings.HasPrefix(sc.Text(), "MemTotal:"):
			_, err = fmt.Sscanf(sc.Text(), "MemTotal: %d kB", &kib)
			total = kib << 10
		case strings.HasPrefix(sc.Text(), "MemAvailable:"):
			_, err = fmt.Sscanf(sc.Text(), "MemAvailable: %d kB", &kib)
			available = kib << 10
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return total, available, nil
}
