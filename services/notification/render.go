package notification

import (
	"embed"
	"fmt"
	htmltemplate "html/template"
	"strings"
	texttemplate "text/template"

	"github.com/dishmesh/dishmesh/services/internal/money"
	"github.com/dishmesh/dishmesh/services/notification/notificationapi"
)

//go:embed templates
var files embed.FS

// templates holds one file per cause and channel, templates/<cause>.<channel>.{html,txt}. A file of e-mail defines
// "subject" and "body", one of push "title" and "text", one of SMS "text". Bodies of mails are escaped as HTML;
// a subject is text, so its file is parsed a second time as such.
type templates struct {
	html map[string]*htmltemplate.Template // by cause, e-mail only
	text map[string]*texttemplate.Template // by <cause>.<channel>
}

// message is what the templates are given. The texts in it come from customers and restaurants: unsafe.
type message struct {
	NotificationID string
	Name           string // of the customer
	OrderID        string
	Restaurant     string
	fact
}

// rendered is a message for one channel. Subject is a mail's subject or a push message's title.
type rendered struct {
	Subject string
	Body    string
}

func parseTemplates() (*templates, error) {
	t := &templates{html: map[string]*htmltemplate.Template{}, text: map[string]*texttemplate.Template{}}
	funcs := map[string]any{"money": money.Format, "short": short}
	for cause, channels := range causes {
		for _, channel := range channels {
			name := cause + "." + channel
			ext := ".txt"
			if channel == notificationapi.Email {
				ext = ".html"
				h, err := htmltemplate.New("layout.html").Funcs(funcs).ParseFS(files, "templates/layout.html", "templates/"+name+ext)
				if err != nil {
					return nil, fmt.Errorf("template %s: %w", name, err)
				}
				t.html[cause] = h
			}
			x, err := texttemplate.New(name).Funcs(funcs).ParseFS(files, "templates/"+name+ext)
			if err != nil {
				return nil, fmt.Errorf("template %s: %w", name, err)
			}
			t.text[name] = x
		}
	}
	return t, nil
}

func (t *templates) render(cause, channel string, m message) (rendered, error) {
	var r rendered
	var err error
	text := t.text[cause+"."+channel]
	if text == nil {
		return r, fmt.Errorf("there is no template for %s by %s", cause, channel)
	}
	part := func(name string) string {
		var b strings.Builder
		if err == nil {
			err = text.ExecuteTemplate(&b, name, m)
		}
		return oneLine(b.String())
	}
	switch channel {
	case notificationapi.Email:
		var b strings.Builder
		r.Subject = part("subject")
		if err == nil {
			err = t.html[cause].Execute(&b, m)
		}
		r.Body = b.String()
	case notificationapi.Push:
		r.Subject, r.Body = part("title"), part("text")
	default:
		r.Body = part("text")
	}
	if err != nil {
		return r, fmt.Errorf("template %s.%s: %w", cause, channel, err)
	}
	return r, nil
}

// oneLine joins lines and drops control characters: a name with a line break must not become a mail header.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' }), " ")
}

// short is the end of an order's id, enough for people to tell their orders apart.
func short(id string) string {
	return strings.ToUpper(id[max(0, len(id)-6):])
}
