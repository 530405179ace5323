//go:build outbox_stalls

package outbox

import (
	"errors"
	"strings"
)

// stalled has the outbox fail to publish one kind of event for ever: the audit must notice that what is stored was not
// published.
func stalled(e Effect) error {
	if e.Name == PublishEffect && strings.Contains(string(e.Data), `"fooddelivery.payment.paid-out"`) {
		return errors.New("outbox: the tag outbox_stalls keeps it")
	}
	return nil
}
