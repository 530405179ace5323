package notification

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/correlation"
	"github.com/dishmesh/dishmesh/services/internal/inbox"
	"github.com/dishmesh/dishmesh/services/internal/outbox"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/notification/notificationapi"
)

const (
	// settleTimeout bounds how long the outcome of a cause is tried to be recorded.
	settleTimeout = 5 * time.Second
	// firstDelay is the pause before the second try; it doubles while the store is away.
	firstDelay = 10 * time.Millisecond
)

// settle records what became of a cause by all its channels, with the events that say so in the same transaction. It
// goes on for a while when the store or the outbox is away, even if the delivery of the event was given up meanwhile.
// The error joins those of the messages that are worth another try.
//
// The event's receipt goes with that record, unless a message is to be tried again: then the event is not done. If
// another replica took the event in meanwhile, what was sent is recorded all the same, without the receipt.
func (s *Service) settle(ctx context.Context, e cloudevent.Event, n notice, v *view, due []*delivery) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	receipt := inbox.From(ctx)
	for _, d := range due {
		if d.err != nil && !problem.Permanent(d.err) {
			receipt = nil
		}
	}
	var taken error
	for delay := firstDelay; ; delay *= 2 {
		var err error
		if v == nil { // somebody else wrote, or our own write may have landed: what is there decides
			v, err = s.read(ctx, e, n)
		}
		if err == nil {
			err = s.record(ctx, e, n, v, due, receipt)
		}
		if err == nil {
			break
		}
		v = nil
		if errors.Is(err, inbox.ErrTaken) {
			taken, receipt = err, nil
		}
		if errors.Is(err, sidecar.ErrConflict) {
			delay = firstDelay
		}
		select {
		case <-ctx.Done():
			s.remember(due)
			return fmt.Errorf("event %s: what was sent is not recorded: %w", e.ID, err)
		case <-time.After(delay):
		}
	}
	var again []error
	for _, d := range due {
		if d.outcome != "" {
			s.outcomes.WithLabelValues(d.channel, d.outcome).Inc()
		}
		if d.err != nil && !problem.Permanent(d.err) {
			again = append(again, fmt.Errorf("%s by %s: %w", d.cause, d.channel, d.err))
		}
	}
	return errors.Join(append(again, taken)...)
}

// record brings v up to date with what became of the sends and writes it.
func (s *Service) record(ctx context.Context, e cloudevent.Event, n notice, v *view, due []*delivery, receipt *inbox.Receipt) error {
	var sent, failed []*notificationapi.Channel
	tried, complete := false, !v.toldItem.Exists()
	for _, d := range due {
		if v.told.final(d.channel) {
			continue // recorded meanwhile
		}
		tried = true
		state := v.told.of(d.channel)
		d.judge(state)
		c := &notificationapi.Channel{Channel: d.channel, NotificationId: d.id, Attempts: int32(state.Attempts), Reason: state.Reason}
		switch state.Status {
		case notificationapi.Sent:
			sent = append(sent, c)
		case notificationapi.Failed:
			failed = append(failed, c)
		}
		complete = complete && v.told.final(d.channel)
	}
	var effects []outbox.Effect
	for _, o := range []struct {
		kind     string
		channels []*notificationapi.Channel
	}{{notificationapi.TypeSent, sent}, {notificationapi.TypeFailed, failed}} {
		if len(o.channels) == 0 {
			continue
		}
		v.told.Events++
		effect, err := s.outcomeEffect(ctx, o.kind, v.told, o.channels)
		if err != nil {
			return err
		}
		effects = append(effects, effect)
	}
	ops, err := s.ops(e, n, v, tried)
	if err != nil || len(ops) == 0 {
		return err
	}
	return s.writes.Do(ctx, &writing{ctx: ctx, key: v.told.ID, alone: !complete, effects: effects, ops: ops, receipt: receipt}, e.Time)
}

// judge writes the outcome of a send to its state and names it.
func (d *delivery) judge(st *state) {
	st.Attempts++
	st.Subject, st.Reason = d.message.Subject, ""
	switch {
	case d.err == nil:
		st.Status, st.SentAt = notificationapi.Sent, &d.sentAt
		d.outcome = "sent"
		return
	case problem.Permanent(d.err):
		st.Status, st.Refused = notificationapi.Failed, true
		d.outcome = "failed"
	case st.Attempts >= maxAttempts:
		// The event goes to the dead letters; redriven from there, the message is tried again.
		st.Status = notificationapi.Failed
		d.outcome = "failed"
	default:
		st.Status = notificationapi.Sending
		d.outcome = "retry"
	}
	st.Reason = d.err.Error()
}

func (s *Service) outcomeEffect(ctx context.Context, kind string, t told, channels []*notificationapi.Channel) (outbox.Effect, error) {
	schema, data, err := notificationapi.Events.Encode(kind, &notificationapi.Outcome{
		Cause: t.Cause, Recipient: t.User, Template: t.Template, OrderId: t.OrderID, Channels: channels,
	})
	if err != nil {
		return outbox.Effect{}, err
	}
	correlationID := t.OrderID
	if correlationID == "" {
		correlationID = t.User
	}
	return outbox.Publish(cloudevent.Topic("notification"), cloudevent.Event{
		SpecVersion: "1.0", ID: "notification/" + t.ID + "/" + strconv.Itoa(t.Events), Source: "dishmesh/" + Name,
		Type: cloudevent.Prefix + kind, Subject: t.ID, Time: s.now().UTC(), DataContentType: "application/json", DataSchema: schema,
		Sequence: strconv.Itoa(t.Events), CorrelationID: correlationID,
		TraceParent: correlation.From(ctx).TraceParent, Data: data,
	})
}
