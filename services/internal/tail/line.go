package tail

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/dishmesh/dishmesh/services/internal/money"
)

// told lists the members of payloads that say most, in the order in which they are told. Amounts are told with their
// currency.
var told = []string{
	"status", "reason", "detail", "restaurant_name", "restaurant_id", "name", "item_id", "courier_id", "customer_id",
	"user_id", "email", "role", "prep_minutes", "eta", "expires_at", "price", "available", "zone", "surge_bp",
	"channel", "template", "recipient", "card", "acquirer_reference", "lat", "lon",
}

var amounts = []string{"amount", "total"}

// Line is a record on one line for people: time, topic/partition/offset, type, subject, and what says most.
func (r Record) Line() string {
	place := fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset)
	if r.Event == nil {
		return fmt.Sprintf("%-12s  %s  no event: %q", "", place, r.Raw)
	}
	line := fmt.Sprintf("%s  %-34s  %-28s  %s", r.Event.Time.Local().Format("15:04:05.000"), place, r.Event.Name(), r.Event.Subject)
	if r.DeadLetterOf != "" {
		line += "  DEAD LETTER of " + r.DeadLetterOf
	}
	if facts := facts(r.Event.Data); facts != "" {
		line += "  " + facts
	}
	return line
}

func facts(data json.RawMessage) string {
	var d map[string]any
	if json.Unmarshal(data, &d) != nil {
		return ""
	}
	var parts []string
	currency, _ := d["currency"].(string)
	for _, name := range amounts {
		if n, ok := d[name].(float64); ok && currency != "" {
			parts = append(parts, name+"="+strings.ReplaceAll(money.Format(int64(n), currency), " ", ""))
		}
	}
	for _, name := range told {
		switch v := d[name].(type) {
		case string:
			if strings.ContainsAny(v, " \t\n\"") {
				v = fmt.Sprintf("%q", v)
			}
			if v != "" {
				parts = append(parts, name+"="+v)
			}
		case float64, bool:
			parts = append(parts, fmt.Sprintf("%s=%v", name, v))
		}
	}
	return strings.Join(parts, " ")
}
