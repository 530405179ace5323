package notification

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/notification/notificationapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Every line of causes has its templates, and no template is left over. Each is shown in testdata, given texts that
// must be escaped in HTML and must not break a header.
func TestTemplates(t *testing.T) {
	all, err := parseTemplates()
	if err != nil {
		t.Fatal(err)
	}
	m := message{
		NotificationID: "ntf_00000000000000000000000000", Name: "Ada <i>", OrderID: "ord_0123456789abcdefghjkmn", Restaurant: "Rosa & \"Söhne\"\r\nBcc: x",
		fact: fact{Items: []orderapi.Item{{Name: "Pizza <script>", Quantity: 2, Total: 1890, Options: []string{"large", "thin"}}, {Name: "Cola", Quantity: 1, Total: 250}},
			Currency: "EUR", Total: 2330, DeliveryFee: 290, Discount: 100, Amount: 2330, PrepMinutes: 12, Status: "declined", Reason: "payment_declined", Detail: "insufficient funds"},
	}
	used := map[string]bool{"templates/layout.html": true}
	for cause, channels := range causes {
		for _, channel := range channels {
			ext := ".txt"
			if channel == notificationapi.Email {
				ext = ".html"
			}
			used["templates/"+cause+"."+channel+ext] = true
			r, err := all.render(cause, channel, m)
			if err != nil {
				t.Error(err)
				continue
			}
			if strings.ContainsAny(r.Subject, "\r\n") || r.Body == "" || (r.Subject == "") != (channel == notificationapi.SMS) {
				t.Errorf("%s by %s: subject %q, body %q", cause, channel, r.Subject, r.Body)
			}
			if channel == notificationapi.Email && (strings.Contains(r.Body, "<script>") || strings.Contains(r.Body, "<i>")) {
				t.Errorf("%s by %s is not escaped:\n%s", cause, channel, r.Body)
			}
			golden(t, filepath.Join("testdata", cause+"."+channel+".golden"), "Subject: "+r.Subject+"\n\n"+r.Body+"\n")
		}
	}
	err = fs.WalkDir(files, "templates", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !used[path] {
			t.Errorf("%s is used by no cause", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What became of a failed order is told apart by its status.
func TestFailedOrderSaysWhy(t *testing.T) {
	all, err := parseTemplates()
	if err != nil {
		t.Fatal(err)
	}
	for status, want := range map[string]string{"declined": "card was declined", "undeliverable": "no courier could be found", "compensation_failed": "could not be completed"} {
		r, err := all.render(orderapi.EventFailed, notificationapi.SMS, message{OrderID: "ord_1", fact: fact{Status: status}})
		if err != nil || !strings.Contains(r.Body, want) {
			t.Errorf("%s: %q (%v), want %q in it", status, r.Body, err, want)
		}
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
