package customer

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// The files of the demo customers below the data folder's client/.
const (
	CustomerFile  = "customer.json"  // the account of "dishmesh order"
	CustomersFile = "customers.json" // the accounts of "dishmesh load"
	JournalFile   = "orders.jsonl"   // every order that was acknowledged to either
)

// Folder is the demo customers' part of a data folder.
func Folder(data string) string { return filepath.Join(data, "client") }

// Acknowledgement is a line of the journal: the platform has promised this order. The audit holds it to that.
type Acknowledgement struct {
	OrderID        string    `json:"order_id"`
	AcknowledgedAt time.Time `json:"acknowledged_at"`
	CustomerID     string    `json:"customer_id"`
	Total          int64     `json:"total"` // minor units
	Currency       string    `json:"currency"`
}

// Journal is the customers' own, durable record of what was acknowledged. It is safe for use by several goroutines
// and several processes.
type Journal struct {
	mu   sync.Mutex
	file *os.File
}

// OpenJournal opens the journal of a data folder and makes it if need be. A line that an earlier process could not
// finish is ended, so that it spoils no other.
func OpenJournal(data string) (*Journal, error) {
	dir := Folder(data)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("journal of orders: %w", err)
	}
	path := filepath.Join(dir, JournalFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("journal of orders: %w", err)
	}
	if err := endLine(f); err != nil {
		_ = f.Close() // the first error says more
		return nil, fmt.Errorf("journal of orders %s: %w", path, err)
	}
	return &Journal{file: f}, nil
}

func endLine(f *os.File) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return err
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, size-1); err != nil {
		return err
	}
	if last[0] != '\n' {
		_, err = f.Write([]byte{'\n'})
	}
	return err
}

// Append records an acknowledged order and returns once it is on the disk.
func (j *Journal) Append(o orderapi.Order, at time.Time) error {
	line, err := json.Marshal(Acknowledgement{
		OrderID: o.ID, AcknowledgedAt: at.UTC(), CustomerID: o.CustomerID, Total: o.Total, Currency: o.Currency,
	})
	if err != nil {
		return fmt.Errorf("journal of orders: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, err := j.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("journal of orders: %w", err)
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("journal of orders: %w", err)
	}
	return nil
}

// Close closes the journal.
func (j *Journal) Close() error { return j.file.Close() }
