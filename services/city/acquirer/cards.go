package acquirer

import "strings"

// Scenario is what a test card makes happen. The README of services/city has the table.
type Scenario string

// The scenarios.
const (
	Approve               Scenario = ""
	Decline               Scenario = "decline"
	Insufficient          Scenario = "insufficient_funds"
	UnknownCard           Scenario = "unknown_card"
	TimeoutBefore         Scenario = "timeout_before"
	TimeoutAfterAuthorize Scenario = "timeout_after_authorize"
	TimeoutAfterCapture   Scenario = "timeout_after_capture"
	Slow                  Scenario = "slow"
	FailTwice             Scenario = "fail_2"
	Duplicate             Scenario = "duplicate"
)

var testCards = map[string]Scenario{
	"card_ok":                      Approve,
	"card_declined":                Decline,
	"card_insufficient":            Insufficient,
	"card_timeout_before":          TimeoutBefore,
	"card_timeout_after_authorize": TimeoutAfterAuthorize,
	"card_timeout_after_capture":   TimeoutAfterCapture,
	"card_slow":                    Slow,
	"card_fail_2":                  FailTwice,
	"card_duplicate":               Duplicate,
}

func scenarioOf(card string) Scenario {
	if s, ok := testCards[card]; ok {
		return s
	}
	return UnknownCard
}

// declineReason is the issuer's reason, or "" when the issuer approves.
func (s Scenario) declineReason() string {
	switch s {
	case Decline:
		return "card_declined"
	case Insufficient:
		return "insufficient_funds"
	case UnknownCard:
		return "unknown_card"
	default:
		return ""
	}
}

// unavailableTimes says how many attempts to authorize, per merchant reference, come to nothing.
func (s Scenario) unavailableTimes() int {
	switch s {
	case TimeoutBefore:
		return 1
	case FailTwice:
		return 2
	default:
		return 0
	}
}

// silentAfter reports whether the first answer to an operation of this kind gets lost after the work is done.
func (s Scenario) silentAfter(k Kind) bool {
	return s == TimeoutAfterAuthorize && k == Authorize || s == TimeoutAfterCapture && k == Capture
}

// mask keeps the last four characters of a card token: enough to recognise it, too little to use it.
func mask(card string) string {
	const keep = 4
	if len(card) <= 2*keep {
		return strings.Repeat("*", keep)
	}
	return strings.Repeat("*", keep) + card[len(card)-keep:]
}
