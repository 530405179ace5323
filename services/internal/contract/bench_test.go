package contract_test

import (
	"encoding/json"
	"fmt"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/contract"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi/orderv2"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
)

// What the payloads were before they were protobuf messages, as the yardstick.
type (
	plainItem struct {
		ItemID    string   `json:"item_id"`
		Name      string   `json:"name"`
		Quantity  int      `json:"quantity"`
		Options   []string `json:"options,omitempty"`
		UnitPrice int64    `json:"unit_price"`
		Total     int64    `json:"total"`
	}
	plainPlaced struct {
		OrderID        string         `json:"order_id"`
		CustomerID     string         `json:"customer_id"`
		RestaurantID   string         `json:"restaurant_id"`
		RestaurantName string         `json:"restaurant_name"`
		QuoteID        string         `json:"quote_id"`
		Items          []plainItem    `json:"items"`
		Currency       string         `json:"currency"`
		Subtotal       int64          `json:"subtotal"`
		DeliveryFee    int64          `json:"delivery_fee"`
		SurgeFee       int64          `json:"surge_fee"`
		Discount       int64          `json:"discount"`
		Tax            int64          `json:"tax"`
		Total          int64          `json:"total"`
		Pickup         orderapi.Place `json:"pickup"`
		Dropoff        orderapi.Place `json:"dropoff"`
		RequestHash    string         `json:"request_hash"`
	}
	plainMoved struct {
		OrderID           string               `json:"order_id"`
		CustomerID        string               `json:"customer_id,omitempty"`
		RestaurantID      string               `json:"restaurant_id,omitempty"`
		Amount            int64                `json:"amount"`
		Currency          string               `json:"currency,omitempty"`
		AcquirerReference string               `json:"acquirer_reference,omitempty"`
		Postings          []paymentapi.Posting `json:"postings"`
	}
)

// cpu is what the process has used, whatever else the machine does.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPayload is the CPU that an event's payload costs to write and to read, by its contract and as plain JSON.
// The largest and a usual one: order.placed with two items, payment.captured.
func BenchmarkPayload(b *testing.B) {
	place := orderapi.Place{Lat: 52.5163, Lon: 13.3777, Address: "Unter den Linden 77"}
	const order, customer = "ord_zmvsmd4nk5fjem2kbnyad3aw3c", "usr_06h083aq9n4dzkv61xhvm446n4"
	items := []plainItem{{"itm_0801", "Churros", 2, []string{"5 pieces"}, 520, 1040}, {"itm_0802", "Tacos de Nopales", 1, []string{"3 pieces"}, 990, 990}}
	placed := &orderapi.PlacedEvent{OrderId: order, CustomerId: customer, RestaurantId: "rst_08", RestaurantName: "Taquería El Faro", QuoteId: "qte_06h083aq9n4d",
		Currency: "EUR", Subtotal: 2030, DeliveryFee: 214, Tax: 167, Total: 2244, Pickup: place.Message(), Dropoff: place.Message(),
		RequestHash: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}
	for _, it := range items {
		placed.Items = append(placed.Items, orderapi.Item(it).Message())
	}
	captured := &paymentapi.Event{OrderId: order, CustomerId: customer, RestaurantId: "rst_08", Amount: 2244, Currency: "EUR", AcquirerReference: "cap_0123456789"}
	lines := []paymentapi.Posting{{Account: "order:" + order + ":held", Amount: 2244}, {Account: "acquirer:held", Amount: -2244},
		{Account: "acquirer:receivable", Amount: 2244}, {Account: "order:" + order + ":clearing", Amount: -2244}}
	for _, l := range lines {
		captured.Postings = append(captured.Postings, &paymentapi.Event_Posting{Account: l.Account, Amount: l.Amount})
	}
	for _, bb := range []struct {
		name  string
		set   *contract.Set
		m     proto.Message
		plain any
		blank func() any
	}{
		{"order.placed", orderapi.Events, placed, plainPlaced{order, customer, "rst_08", "Taquería El Faro", "qte_06h083aq9n4d", items, "EUR", 2030, 214, 0, 0, 167, 2244,
			place, place, placed.RequestHash}, func() any { return new(plainPlaced) }},
		{"payment.captured", paymentapi.Events, captured, plainMoved{order, customer, "rst_08", 2244, "EUR", "cap_0123456789", lines}, func() any { return new(plainMoved) }},
	} {
		schema, data, err := bb.set.Encode(bb.name, bb.m)
		if err != nil {
			b.Fatal(err)
		}
		e := cloudevent.Event{ID: "bench", Type: cloudevent.Prefix + bb.name, DataSchema: schema, Data: data}
		plain, err := json.Marshal(bb.plain)
		if err != nil {
			b.Fatal(err)
		}
		run := func(what string, size int, f func() error) {
			b.Run(fmt.Sprintf("%s/%s", bb.name, what), func(b *testing.B) {
				b.ReportAllocs()
				b.ReportMetric(float64(size), "bytes")
				before := cpu(b)
				for b.Loop() {
					if err := f(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
			})
		}
		run("write", len(data), func() error { _, _, err := bb.set.Encode(bb.name, bb.m); return err })
		run("write-plain", len(plain), func() error { _, err := json.Marshal(bb.plain); return err })
		run("read", len(data), func() error { _, err := bb.set.Decode(e); return err })
		run("read-plain", len(plain), func() error { return json.Unmarshal(plain, bb.blank()) })
	}
}

// BenchmarkUpcast is what reading version 1 of order.delivered costs more than reading version 2.
func BenchmarkUpcast(b *testing.B) {
	m := &orderv2.DeliveredEvent{OrderId: "ord_1", CustomerId: "usr_1", RestaurantId: "rst_1", CourierId: "usr_9",
		Bill: &orderv2.Bill{Currency: "EUR", Subtotal: 2030, DeliveryFee: 214, Tax: 167, Total: 2244}}
	for _, spec := range []string{"order.delivered=1", "order.delivered=2"} {
		set, err := orderapi.Events.Writing(spec)
		if err != nil {
			b.Fatal(err)
		}
		schema, data, err := set.Encode("order.delivered", m)
		if err != nil {
			b.Fatal(err)
		}
		e := cloudevent.Event{ID: "bench", Type: "fooddelivery.order.delivered", DataSchema: schema, Data: data}
		b.Run(spec, func(b *testing.B) {
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				if _, err := set.Decode(e); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}
