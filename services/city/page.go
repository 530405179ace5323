package city

import (
	"bytes"
	_ "embed"
	"fmt"
	"html"
	"html/template"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/dishmesh/dishmesh/services/city/acquirer"
	"github.com/dishmesh/dishmesh/services/city/mail"
	"github.com/dishmesh/dishmesh/services/city/sink"
)

//go:embed page.html
var pageSource string

var (
	pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
		"clock": func(t time.Time) string { return t.Format("15:04:05") },
		"money": func(n int64) string { return fmt.Sprintf("%d.%02d", n/100, n%100) },
		"plain": plain,
	}).Parse(pageSource))
	tag   = regexp.MustCompile(`(?s)<(style|head|title)\b.*?</(style|head|title)>|<[^>]*>`)
	space = regexp.MustCompile(`\s+`)
)

// shown is how many of each the page shows.
const shown = 20

type pageData struct {
	Mails               []mail.Message
	Texts, Pushes       []sink.Message
	NMail, NText, NPush int // ever received
	Totals              acquirer.Totals
	Operations          []acquirer.Operation
	TimeScale           float64
}

// Routes serves /acquirer/…, /sms, /push, /healthz, /readyz and, at /, a page of what the outside world received.
func (c *City) Routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/acquirer/", http.StripPrefix("/acquirer", c.acquirer.Handler()))
	mux.Handle("/sms", c.sms)
	mux.Handle("/push", c.push)
	mux.HandleFunc("GET /healthz", c.handleHealth)
	mux.HandleFunc("GET /readyz", c.handleReady)
	mux.HandleFunc("GET /{$}", c.handlePage)
	return mux
}

// handleHealth says whether the acquirer can do its work; all else is there when this answers at all.
func (c *City) handleHealth(w http.ResponseWriter, _ *http.Request) {
	if err := c.acquirer.Err(); err != nil {
		http.Error(w, "the acquirer's book can't be written", http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n")) // who asked has gone
}

// handleReady says whether an order would find a kitchen and a courier.
func (c *City) handleReady(w http.ResponseWriter, r *http.Request) {
	if !c.ready() {
		http.Error(w, "kitchens and couriers are coming on duty", http.StatusServiceUnavailable)
		return
	}
	c.handleHealth(w, r)
}

func (c *City) handlePage(w http.ResponseWriter, _ *http.Request) {
	data := pageData{TimeScale: c.cfg.TimeScale}
	data.Mails, data.NMail = c.mail.Latest(shown)
	data.Texts, data.NText = c.sms.Latest(shown)
	data.Pushes, data.NPush = c.push.Latest(shown)
	data.Totals, data.Operations = c.acquirer.Summary()
	var page bytes.Buffer
	if err := pageTemplate.Execute(&page, data); err != nil {
		c.cfg.Log.Error("the page failed", "err", err)
		http.Error(w, "the page failed", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(page.Bytes()) // who asked has gone
}

// plain makes a line of text of a mail's HTML.
func plain(s string) string {
	s = strings.TrimSpace(space.ReplaceAllString(tag.ReplaceAllString(s, " "), " "))
	const most = 300
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return html.UnescapeString(s) // the template escapes it again
}
