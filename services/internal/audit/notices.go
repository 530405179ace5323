package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/notification/notificationapi"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// Notices says who tells people what. Without an App invariant 7 has nothing to look at.
type Notices struct {
	App string
	// Channels are those by which the customer of an event is told of it, if the customer wants them; none: not at all.
	Channels func(eventType string) []string
	// Journals are what the outside world got, by channel: files of JSON lines with notification_id and time. Missing:
	// empty.
	Journals map[string]string
}

// notice is what the notification service keeps of an event that it told somebody of.
type notice struct {
	Cause    string          `json:"cause"`
	Channels []noticeChannel `json:"channels"`
}

type noticeChannel struct {
	Channel string     `json:"channel"`
	Status  string     `json:"status"`
	SentAt  *time.Time `json:"sent_at"`
}

// copies are the messages that went out under one notification id.
type copies struct {
	channel string
	times   []time.Time
}

// reach is how a person could be reached from a time on.
type reach struct {
	from  time.Time
	wants map[string]bool
}

func (f *facts) readNotices(ctx context.Context) error {
	n := f.cfg.Notices
	if n.App == "" {
		return nil
	}
	return f.from(ctx, n.App, "told/", func(_, key string, value []byte) error {
		var t notice
		if err := json.Unmarshal(value, &t); err != nil {
			return fmt.Errorf("%s of %s is damaged: %w", key, n.App, err)
		}
		f.notices[t.Cause] = t
		return nil
	})
}

func (f *facts) readSent(channel, path string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("what was sent by %s can't be read: %w", channel, err)
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		var m struct {
			ID   string    `json:"notification_id"`
			Time time.Time `json:"time"`
		}
		if json.Unmarshal([]byte(line), &m) != nil || m.ID == "" || m.Time.Before(f.cfg.Since) {
			continue // the end of a torn file, or mail of another kind
		}
		c := f.sent[m.ID]
		c.channel = channel
		c.times = append(c.times, m.Time)
		f.sent[m.ID] = c
	}
	return nil
}

// reaches follows the events of the accounts.
func (f *facts) reaches() (map[string][]reach, error) {
	var accounts []stored
	for _, e := range f.stored {
		if n := e.event.Name(); n == userapi.EventRegistered || n == userapi.EventPreferencesChanged {
			accounts = append(accounts, e)
		}
	}
	byTime(accounts)
	all := map[string][]reach{}
	for _, e := range accounts {
		var p struct {
			Email       string              `json:"email"`
			Phone       string              `json:"phone"`
			Preferences userapi.Preferences `json:"preferences"`
		}
		if err := e.event.Into(&p); err != nil {
			return nil, err
		}
		all[e.id] = append(all[e.id], reach{e.event.Time, map[string]bool{
			notificationapi.Email: p.Preferences.Email && p.Email != "",
			notificationapi.SMS:   p.Preferences.SMS && p.Phone != "",
			notificationapi.Push:  p.Preferences.Push,
		}})
	}
	return all, nil
}

// wants reports whether a person wanted a channel at a time and ever since: what was changed later may have come
// before the message did.
func wants(history []reach, channel string, at time.Time) bool {
	wanted := false
	for i, r := range history {
		if i+1 < len(history) && !history[i+1].from.After(at) {
			continue
		}
		if r.from.After(at) && !wanted {
			return false
		}
		if wanted = r.wants[channel]; !wanted {
			return false
		}
	}
	return wanted
}

// copyGrace is how long after the record says that a message was sent another copy may still have been on its way, from
// a replica that had the event as well while its partition changed hands.
const copyGrace = 2 * time.Second

// noticed is invariant 7: the customer was told of each event as they wished, once by each channel. Copies with one id,
// which a crash between the sending and its record leads to, are one message to whoever gets them; a copy that was sent
// when the record was there is a violation.
func (f *facts) noticed() (Invariant, error) {
	v := invariant(7, "every notification that is owed was sent once", "notifications")
	if f.cfg.Notices.App == "" {
		return v, nil
	}
	history, err := f.reaches()
	if err != nil {
		return v, err
	}
	known := map[string]bool{} // the ids of which there is a record, or an event
	extra := 0
	for _, cause := range sorted(f.notices) {
		for _, c := range f.notices[cause].Channels {
			id := ids.Derive("ntf", cause, c.Channel)
			known[id] = true
			got := f.sent[id]
			if c.Status != notificationapi.Sent || c.SentAt == nil || c.SentAt.Before(f.cfg.Since) {
				continue // refused, or to be tried again
			}
			v.Checked++
			switch late := f.late(*c.SentAt); {
			case len(got.times) == 0 && late:
				v.violate("%s by %s: is down as sent at %s, and nobody got %s", cause, c.Channel, c.SentAt.Format(time.RFC3339), id)
			case len(got.times) > 1 && slices.MaxFunc(got.times, time.Time.Compare).Sub(*c.SentAt) > copyGrace:
				v.violate("%s by %s: was sent %d times, and still at %s when it was down as sent at %s", cause, c.Channel, len(got.times),
					slices.MaxFunc(got.times, time.Time.Compare).Format(time.RFC3339), c.SentAt.Format(time.RFC3339))
			case len(got.times) > 1:
				extra++
			}
		}
	}
	for _, e := range f.stored {
		if err := f.owed(&v, e, history, known); err != nil {
			return v, err
		}
	}
	for _, id := range sorted(f.sent) {
		c := f.sent[id]
		if first := slices.MinFunc(c.times, time.Time.Compare); !known[id] && f.cfg.Now().Sub(first) < forgotten && f.late(first) {
			v.violate("%s: was sent by %s at %s, and nobody owed it", id, c.channel, first.Format(time.RFC3339))
		}
	}
	if extra > 0 {
		f.notes = append(f.notes, fmt.Sprintf("notifications of which a copy with the same id went out, as after a crash: %d", extra))
	}
	return v, nil
}

// forgotten is the age from which on a notification's record may be gone.
const forgotten = 89 * 24 * time.Hour

// owed checks what one event owes to its customer.
func (f *facts) owed(v *Invariant, e stored, history map[string][]reach, known map[string]bool) error {
	channels := f.cfg.Notices.Channels(e.event.Name())
	if len(channels) == 0 {
		return nil
	}
	for _, channel := range channels {
		known[ids.Derive("ntf", e.event.ID, channel)] = true
	}
	if e.event.Name() == userapi.EventRegistered || slices.Contains(f.inboxes[f.cfg.Notices.App][e.stream+"/"+e.id].Parked, e.seq) {
		return nil // accounts are another matter, and the dead letters wait to be replayed
	}
	customer, err := f.customerOf(e.event)
	if err != nil || customer == "" {
		return err
	}
	for _, channel := range channels {
		if !wants(history[customer], channel, e.event.Time) {
			continue
		}
		at := slices.IndexFunc(f.notices[e.event.ID].Channels, func(c noticeChannel) bool { return c.Channel == channel })
		switch {
		case at >= 0:
		case f.late(e.event.Time):
			v.Checked++
			v.violate("%s: %s was never told of %s by %s", e.id, customer, e, channel)
		default:
			f.pending++
		}
	}
	return nil
}

func (f *facts) customerOf(e cloudevent.Event) (string, error) {
	var p struct {
		OrderID    string `json:"order_id"`
		CustomerID string `json:"customer_id"`
	}
	if err := e.Into(&p); err != nil {
		return "", err
	}
	if p.CustomerID == "" {
		return f.orders[p.OrderID].CustomerID, nil
	}
	return p.CustomerID, nil
}
