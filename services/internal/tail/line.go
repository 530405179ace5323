package tail

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/contract/catalogue"
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
	if facts := facts(*r.Event); facts != "" {
		line += "  " + facts
	}
	return line
}

// plain is the form in which payloads are told: fields that are at zero are there too.
var plain = protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}

// facts tells what says most of a payload. What is in no contract, such as a dead letter, is told as it came.
func facts(e cloudevent.Event) string {
	data := []byte(e.Data)
	if m, err := catalogue.All.Decode(e); err == nil {
		if b, err := plain.Marshal(m); err == nil {
			data = b
		}
	}
	var d map[string]any
	if json.Unmarshal(data, &d) != nil {
		return ""
	}
	if bill, ok := d["bill"].(map[string]any); ok {
		for _, name := range []string{"currency", "total"} {
			if _, ok := d[name]; !ok {
				d[name] = bill[name]
			}
		}
	}
	var parts []string
	currency, _ := d["currency"].(string)
	for _, name := range amounts {
		if n, ok := integer(d[name]); ok && currency != "" {
			parts = append(parts, name+"="+strings.ReplaceAll(money.Format(n, currency), " ", ""))
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

// integer reads an amount: protobuf JSON has integers of 64 bits as strings, what was written before it as numbers.
func integer(v any) (int64, bool) {
	switch v := v.(type) {
	case float64:
		return int64(v), true
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		return n, err == nil
	}
	return 0, false
}
