package acquirer

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/city/journal"
)

// recentOperations is how many operations a page can show.
const recentOperations = 50

// book is the state together with the file that it is rebuilt from. An operation counts, and is answered,
// once its line is on the disk.
type book struct {
	journal *journal.Journal
	now     func() time.Time

	mu      sync.Mutex
	state   *state
	commits map[string]*journal.Commit // by idempotency key: answers that may not be on the disk yet
	recent  []Operation
}

// openBook rebuilds the book from its file. torn is the length of the torn last line that was cut off.
func openBook(path string, now func() time.Time) (b *book, torn int64, err error) {
	b = &book{now: now, state: newState(), commits: map[string]*journal.Commit{}}
	b.journal, torn, err = journal.Open(path, journal.Durable, func(line []byte) error {
		op, err := decodeOperation(line, b.state.sequence+1)
		if err != nil {
			return err
		}
		if err := b.state.possible(op); err != nil {
			return err
		}
		b.state.apply(op)
		b.remember(op)
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	return b, torn, nil
}

// possible guards apply against a book that refers to something it does not have.
func (s *state) possible(op Operation) error {
	if op.Outcome != Approved || op.Kind == Authorize {
		return nil
	}
	if s.authorizations[op.AuthorizationID] == nil {
		return fmt.Errorf("authorization %q is not in the book", op.AuthorizationID)
	}
	if op.Kind == Refund && s.captures[op.CaptureID] == nil {
		return fmt.Errorf("capture %q is not in the book", op.CaptureID)
	}
	return nil
}

// result is what became of a request.
type result struct {
	op       Operation
	replayed bool // the answer was recorded for an earlier request with the same key
}

// lookup finds the recorded answer of a key and waits until it is safe on the disk.
func (b *book) lookup(key string) (Operation, bool, error) {
	if !idempotent {
		return Operation{}, false, nil
	}
	b.mu.Lock()
	op, ok := b.state.byKey[key]
	commit := b.commits[key]
	b.mu.Unlock()
	if !ok || commit == nil {
		return op, ok, nil
	}
	return op, true, commit.Wait()
}

// replay gives the recorded answer for a repeat of a request, and an error for another request under its key.
func (b *book) replay(r request) (Operation, bool, error) {
	op, ok, err := b.lookup(r.key)
	if err == nil && ok && op.Fingerprint != r.fingerprint {
		err = errReused(r.key)
	}
	return op, ok, err
}

// execute carries out a request, unless its key has an answer already, and returns when that is on the disk.
func (b *book) execute(r request) (result, error) {
	b.mu.Lock()
	if idempotent {
		if _, ok := b.state.byKey[r.key]; ok {
			b.mu.Unlock()
			op, _, err := b.replay(r)
			return result{op: op, replayed: true}, err
		}
	}
	op, err := b.state.decide(r, newID)
	if err != nil {
		b.mu.Unlock()
		return result{}, err
	}
	op.Time = b.now().UTC()
	commit, err := b.journal.Append(op)
	if err != nil {
		b.mu.Unlock()
		return result{}, err
	}
	b.state.apply(op)
	b.remember(op)
	b.commits[r.key] = commit
	b.mu.Unlock()

	if err := commit.Wait(); err != nil {
		return result{}, err
	}
	b.mu.Lock()
	if b.commits[r.key] == commit {
		delete(b.commits, r.key)
	}
	b.mu.Unlock()
	return result{op: op}, nil
}

func (b *book) scenarioFor(r request) Scenario {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state.scenarioFor(r)
}

func (b *book) remember(op Operation) {
	if len(b.recent) == recentOperations {
		copy(b.recent, b.recent[1:])
		b.recent = b.recent[:recentOperations-1]
	}
	b.recent = append(b.recent, op)
}

func (b *book) summary() (Totals, []Operation) {
	b.mu.Lock()
	defer b.mu.Unlock()
	recent := make([]Operation, 0, len(b.recent))
	for i := len(b.recent) - 1; i >= 0; i-- {
		recent = append(recent, b.recent[i])
	}
	return b.state.totals, recent
}

// newID makes an identifier that can't be guessed: 96 random bits.
func newID(prefix string) string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return prefix + hex.EncodeToString(b[:])
}
