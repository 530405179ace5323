package gateway

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// staleAnswers keeps the last good answers that their service allows to be shown again while it is away, by
// stale-if-error in Cache-Control (RFC 5861, section 4). They are public, so the same for everybody: menus.
type staleAnswers struct {
	now   func() time.Time
	shown prometheus.Counter

	mu   sync.Mutex
	kept map[string]keptAnswer // by path and query
}

type keptAnswer struct {
	header http.Header
	body   []byte
	at     time.Time
	until  time.Time
}

const (
	maxKeptAnswers = 256
	maxKeptBody    = 128 << 10        // bytes; a larger one is not kept
	keptAnew       = 10 * time.Second // an answer is not kept anew sooner: copying each would cost more than it is worth
)

func newStaleAnswers(now func() time.Time, reg prometheus.Registerer) *staleAnswers {
	s := &staleAnswers{now: now, kept: map[string]keptAnswer{}, shown: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "gateway_stale_answers_total", Help: "Answers that were shown again because their service was away."})}
	reg.MustRegister(s.shown)
	return s
}

func staleKey(r *http.Request) string { return r.URL.Path + "?" + r.URL.RawQuery }

// staleIfError is how long an answer may be shown again, 0: not at all.
func staleIfError(h http.Header) time.Duration {
	for directive := range strings.SplitSeq(h.Get("Cache-Control"), ",") {
		if v, ok := strings.CutPrefix(strings.TrimSpace(directive), "stale-if-error="); ok {
			if seconds, err := strconv.Atoi(v); err == nil && seconds > 0 {
				return time.Duration(seconds) * time.Second
			}
		}
	}
	return 0
}

// keep takes note of an answer that may be shown again. Its body can be read afterwards as before.
func (s *staleAnswers) keep(resp *http.Response) error {
	if resp.StatusCode != http.StatusOK || resp.Request.Method != http.MethodGet {
		return nil
	}
	lasts := staleIfError(resp.Header)
	if lasts == 0 || resp.ContentLength > maxKeptBody {
		return nil
	}
	key, now := staleKey(resp.Request), s.now()
	s.mu.Lock()
	old, ok := s.kept[key]
	s.mu.Unlock()
	if ok && now.Sub(old.at) < keptAnew {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeptBody+1))
	if err != nil {
		return err
	}
	rest := resp.Body
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), rest), rest}
	if len(body) > maxKeptBody {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for other := range s.kept {
		if len(s.kept) < maxKeptAnswers {
			break
		}
		delete(s.kept, other) // any: there are few restaurants, and many ways to search for them
	}
	s.kept[key] = keptAnswer{header: resp.Header.Clone(), body: body, at: now, until: now.Add(lasts)}
	return nil
}

// has reports whether there is an answer to show again.
func (s *staleAnswers) has(r *http.Request) bool {
	_, ok := s.find(r)
	return ok
}

func (s *staleAnswers) find(r *http.Request) (keptAnswer, bool) {
	if r.Method != http.MethodGet {
		return keptAnswer{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.kept[staleKey(r)]
	return k, ok && s.now().Before(k.until)
}

// show answers with what is kept, if there is something, and says by Age how old it is.
func (s *staleAnswers) show(w http.ResponseWriter, r *http.Request) bool {
	k, ok := s.find(r)
	if !ok {
		return false
	}
	for name, values := range k.header {
		w.Header()[name] = values
	}
	w.Header().Set("Age", strconv.Itoa(int(s.now().Sub(k.at).Seconds())))
	w.Header().Set("Content-Length", strconv.Itoa(len(k.body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(k.body) // the client has gone: nothing is left to tell it
	s.shown.Inc()
	return true
}
