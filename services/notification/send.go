package notification

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/mail"
	"strings"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/notification/notificationapi"
)

// The output bindings that notification sends through; components/ says where they lead.
const (
	mailBinding = "mail"
	smsBinding  = "sms"
	pushBinding = "push"
)

// text is the body of a request to a provider of SMS or push messages.
type text struct {
	NotificationID string `json:"notification_id"` // equal ids are copies of one message
	To             string `json:"to"`
	Title          string `json:"title,omitempty"`
	Text           string `json:"text"`
	OrderID        string `json:"order_id,omitempty"`
	Kind           string `json:"kind"` // the event's type, for an app that shows it in its own way
}

// send hands a message to its provider. A problem that is permanent (problem.Permanent) is a refusal.
func (s *Service) send(ctx context.Context, d *delivery) error {
	switch d.channel {
	case notificationapi.Email:
		return s.sendMail(ctx, d)
	case notificationapi.SMS:
		return s.post(ctx, smsBinding, d)
	default:
		return s.post(ctx, pushBinding, d)
	}
}

// sendMail sends one mail at a time, and is not given up on before the sidecar has answered: the SMTP binding of
// Dapr 1.18 writes the recipient and the subject of a request into its own shared settings before it composes the
// mail (bindings/smtp, mergeWithRequestMetadata), so that two mails under way at once could swap recipients. The
// time is bounded by the sidecar's resiliency policy and by package sidecar.
//
// The binding can set no header, so the notification id stands in the body (a meta element, and the footer).
func (s *Service) sendMail(ctx context.Context, d *delivery) error {
	// A semicolon would make the binding send to two.
	if a, err := mail.ParseAddress(d.address); err != nil || a.Address != d.address || strings.ContainsAny(d.address, ";\r\n") {
		return problem.New(problem.InvalidRequest, "the e-mail address is malformed")
	}
	select {
	case s.mailTurn <- struct{}{}:
		defer func() { <-s.mailTurn }()
	case <-ctx.Done():
		return problem.Wrap(ctx.Err(), problem.Timeout, "the mail server is slow")
	}
	_, err := s.deps.Binding.InvokeBinding(context.WithoutCancel(ctx), mailBinding, "create", []byte(d.message.Body),
		map[string]string{"emailTo": d.address, "subject": d.message.Subject})
	return err
}

// post sends an SMS or push message. The status of the answer decides between a refusal and another try, so the
// binding is asked to pass it on instead of making every status but 2xx the same error.
func (s *Service) post(ctx context.Context, binding string, d *delivery) error {
	body, err := json.Marshal(text{
		NotificationID: d.id, To: d.address, Title: d.message.Subject, Text: d.message.Body,
		OrderID: d.order, Kind: d.cause,
	})
	if err != nil {
		return fmt.Errorf("message %s: %w", d.id, err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.SendTimeout)
	defer cancel()
	res, err := s.deps.Binding.InvokeBinding(ctx, binding, "post", body, map[string]string{
		"Content-Type": "application/json", "Idempotency-Key": d.id, "errorIfNot2XX": "false",
	})
	if err != nil {
		return err
	}
	switch code := res.Status; {
	case code == 0 || code/100 == 2: // 0: a binding that is not HTTP took it
		return nil
	case code == http.StatusRequestTimeout || code == http.StatusTooEarly || code == http.StatusTooManyRequests || code >= 500:
		return problem.New(problem.Unavailable, "the provider of %s answered %d", binding, code)
	default:
		return problem.New(problem.InvalidRequest, "the provider of %s refused it with status %d: %.200s", binding, code, res.Data)
	}
}
