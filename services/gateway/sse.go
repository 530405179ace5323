package gateway

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/problem"
)

const (
	// sseWrite bounds how long a client may take to accept what is sent before its stream is cut.
	sseWrite = 10 * time.Second
	// sseRetry is what a browser is told to wait before it connects again.
	sseRetry = time.Second
)

// eventStream writes server-sent events (WHATWG HTML, section 9.2).
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	pending bool
}

// openStream answers with the head of a stream. From here on errors can only end it.
func openStream(w http.ResponseWriter) (*eventStream, error) {
	s := &eventStream{w: w, control: http.NewResponseController(w)}
	// The server's limits are for requests that end; a stream's are set with each write.
	_ = s.control.SetReadDeadline(time.Time{}) // a server that has no deadlines needs none lifted
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	s.write([]byte("retry: " + strconv.FormatInt(sseRetry.Milliseconds(), 10) + "\n\n"))
	return s, s.flush()
}

// write buffers until flush.
func (s *eventStream) write(b []byte) {
	if !s.pending {
		s.pending = true
		_ = s.control.SetWriteDeadline(time.Now().Add(sseWrite)) // see openStream
	}
	_, _ = s.w.Write(b) // flush reports it
}

func (s *eventStream) comment(text string) { s.write([]byte(": " + text + "\n\n")) }

func (s *eventStream) flush() error {
	s.pending = false
	return s.control.Flush()
}

// streamCount bounds the streams of a subject.
type streamCount struct {
	most int

	mu sync.Mutex
	by map[string]int
}

// enter counts a stream in; the function that it gives counts it out.
func (c *streamCount) enter(subject string) (leave func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by[subject] >= c.most {
		return nil, problem.New(problem.RateLimited, "at most %d live streams at a time", c.most).After(5 * time.Second)
	}
	c.by[subject]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.by[subject]--; c.by[subject] == 0 {
			delete(c.by, subject)
		}
	}, nil
}
