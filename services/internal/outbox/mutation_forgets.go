//go:build outbox_forgets

package outbox

import "strings"

// forgotten has the outbox lose one kind of event after the commit, as if it were done: the audit must notice that
// consumers never took it in.
func forgotten(e Effect) bool {
	return e.Name == PublishEffect && strings.Contains(string(e.Data), `"fooddelivery.payment.captured"`)
}
