package acquirer

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Config of an Acquirer. The durations have defaults.
type Config struct {
	BookPath string        // the file of the book; made if missing
	APIKey   string        // what merchants authenticate with
	Silence  time.Duration // how long a lost answer hangs, longer than any caller waits; default 15 s
	SlowBy   time.Duration // how much later card_slow is answered, shorter than a caller waits; default 2 s
	Log      *slog.Logger
	Now      func() time.Time
}

// Acquirer serves merchants. Make one with Open.
type Acquirer struct {
	cfg  Config
	book *book

	mu     sync.Mutex
	silent map[string]bool // keys whose first answer was lost on purpose
}

// Open reads the book and is then ready to serve.
func Open(cfg Config) (*Acquirer, error) {
	if cfg.APIKey == "" {
		return nil, errors.New("acquirer: no API key is set")
	}
	if cfg.Silence == 0 {
		cfg.Silence = 15 * time.Second
	}
	if cfg.SlowBy == 0 {
		cfg.SlowBy = 2 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	b, torn, err := openBook(cfg.BookPath, cfg.Now)
	if err != nil {
		return nil, err
	}
	if torn > 0 {
		cfg.Log.Warn("the acquirer's book ended in a torn line, which nobody was told about: cut off",
			"book", cfg.BookPath, "bytes", torn)
	}
	totals, _ := b.summary()
	cfg.Log.Info("the acquirer's book is open", "book", cfg.BookPath, "operations", totals.Operations, "idempotency", idempotent)
	return &Acquirer{cfg: cfg, book: b, silent: map[string]bool{}}, nil
}

// Close writes what is queued and closes the book.
func (a *Acquirer) Close() error { return a.book.journal.Close() }

// Failed is closed when the book can't be written any more; Err tells why. The acquirer refuses all work then
// and has to be started again.
func (a *Acquirer) Failed() <-chan struct{} { return a.book.journal.Failed() }

// Err is the reason of Failed.
func (a *Acquirer) Err() error { return a.book.journal.Err() }

// Summary gives the totals and the latest operations, newest first.
func (a *Acquirer) Summary() (Totals, []Operation) { return a.book.summary() }

// Handler serves the acquirer's API under /v1/.
func (a *Acquirer) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/authorizations", a.handle(readAuthorize))
	mux.HandleFunc("POST /v1/authorizations/{id}/capture", a.handle(readAmount(Capture)))
	mux.HandleFunc("POST /v1/authorizations/{id}/void", a.handle(readVoid))
	mux.HandleFunc("POST /v1/captures/{id}/refund", a.handle(readAmount(Refund)))
	mux.HandleFunc("GET /v1/operations/{key...}", a.handleLookup)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, errNotFound("path", r.URL.Path))
	})
	return a.authenticated(mux)
}

func (a *Acquirer) authenticated(next http.Handler) http.Handler {
	want := []byte("Bearer " + a.cfg.APIKey)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="acquirer"`)
			writeError(w, newProblem(http.StatusUnauthorized, "unauthenticated", "A valid API key is needed",
				"send it as Authorization: Bearer <key>"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// handleLookup answers GET /v1/operations/{key}: the recorded answer, or 404 when the key never got one. It
// resolves an unknown after a time-out. A recorded success is a 200 here, whatever 2xx it was.
func (a *Acquirer) handleLookup(w http.ResponseWriter, r *http.Request) {
	key := r.PathValue("key")
	op, ok, err := a.book.lookup(key)
	switch {
	case err != nil:
		writeError(w, err)
	case !ok:
		writeError(w, errNotFound("operation", key))
	default:
		status := op.Status
		if status < 300 {
			status = http.StatusOK
		}
		writeAnswer(w, status, op.Answer, true)
	}
}

func (a *Acquirer) handle(read func(*http.Request) (request, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		req, err := readRequest(w, r, read)
		if err != nil {
			writeError(w, err)
			return
		}
		if op, ok, err := a.book.replay(req); err != nil || ok {
			a.finish(w, r, req, result{op: op, replayed: true}, err)
			return
		}
		if a.book.scenarioFor(req) == Slow && !wait(r.Context(), a.cfg.SlowBy) {
			return // the caller has gone before anything was done
		}
		res, err := a.book.execute(req)
		a.finish(w, r, req, res, err)
	}
}

// finish answers a request as the test card wants it.
func (a *Acquirer) finish(w http.ResponseWriter, r *http.Request, req request, res result, err error) {
	op := res.op
	if err != nil {
		writeError(w, err)
		return
	}
	if !res.replayed {
		a.cfg.Log.Info("operation", "kind", op.Kind, "outcome", op.Outcome, "reference", op.MerchantReference,
			"amount", op.Amount, "currency", op.Currency, "card", op.Card, "scenario", op.Scenario)
	}
	switch {
	case op.Outcome == Unavailable && op.Scenario == TimeoutBefore:
		wait(r.Context(), a.cfg.Silence)
		writeError(w, errTimeout())
	case op.Outcome == Unavailable:
		w.Header().Set("Retry-After", "1")
		writeError(w, errUnavailable("try again with the same Idempotency-Key"))
	case !res.replayed && op.Outcome == Approved && op.Scenario.silentAfter(op.Kind) && a.firstTime(req.key):
		wait(r.Context(), a.cfg.Silence)
		writeError(w, errTimeout())
	case !res.replayed && op.Outcome == Approved && op.Scenario == Duplicate && op.Kind == Authorize:
		p := newProblem(http.StatusConflict, "duplicate", "The request was received before", "original is the answer to it")
		p.Original = op.Answer
		writeError(w, p)
	default:
		writeAnswer(w, op.Status, op.Answer, res.replayed)
	}
}

// firstTime reports whether no answer for the key was lost on purpose before.
func (a *Acquirer) firstTime(key string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.silent[key] {
		return false
	}
	a.silent[key] = true
	return true
}

// wait sleeps for d and reports whether the caller is still there.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func writeAnswer(w http.ResponseWriter, status int, body json.RawMessage, replayed bool) {
	contentType := "application/json"
	if status >= 400 {
		contentType = ProblemContentType
	}
	if replayed {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	writeBody(w, status, contentType, body)
}

func writeError(w http.ResponseWriter, err error) {
	var p *Problem
	if !errors.As(err, &p) { // the journal's
		p = errUnavailable("the book can't be written")
	}
	body, err := json.Marshal(p)
	if err != nil {
		body = []byte(`{"type":"about:blank","status":` + strconv.Itoa(p.Status) + `}`)
	}
	writeBody(w, p.Status, ProblemContentType, body)
}

func writeBody(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the caller has gone: its answer is in the book
}

// printable reports whether s is 1 to limit visible ASCII characters.
func printable(s string, limit int) bool {
	return s != "" && len(s) <= limit && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}
