package gateway

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/openapi"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// The pages are made from the document, and what is embedded is read when the test is built: so one after the other.
//
//go:generate go test -run TestOpenAPI -update .
//go:generate go test -run TestRenderedPages -update .

const about = `The public API of Dishmesh, a food delivery platform. Everything enters at the gateway.

Amounts are integers of minor units of the currency that the document names. Times are RFC 3339 in UTC. Members that an
answer has beyond its schema may come with a later version; members of a request that are not in its schema are refused.

Every refusal and failure is application/problem+json (RFC 9457). Its type is one of those under /problems/, its errors
name every faulty field, and its trace_id is that of the logs. A path that does not exist is answered with not-found, a
method that a path does not have with method-not-allowed and an Allow header.

x-roles are those that may call an operation. Whether a thing is the caller's own is decided by the service that has it;
what belongs to somebody else does not exist.

Each account may make so many requests a second, each address so many registrations and logins; beyond that the answer is
rate-limited with Retry-After.`

// asWritten is the document as the code says it is.
func asWritten(t *testing.T) []byte {
	t.Helper()
	d := openapi.Document{
		Comment: "The public API. It is written by the code (go generate ./services/gateway) and checked against it by the tests.",
		Title:   "Dishmesh", Version: "1.0.0", Description: about, Tags: tags,
		Schemas: &openapi.Schemas{
			Sources: &openapi.Sources{Module: "github.com/dishmesh/dishmesh", Root: "../.."},
			Names: map[string]string{
				"problem.Document": "Problem", "problem.Field": "FaultyField", "geo.Point": "Position",
				"menuapi.List": "RestaurantList", "menuapi.Item": "Dish", "menuapi.Option": "DishOption", "menuapi.OptionGroup": "DishOptionGroup",
				"orderapi.List": "OrderList", "orderapi.Item": "OrderItem", "orderapi.EventList": "OrderHistory", "orderapi.HistoryEvent": "OrderEvent",
				"pricingapi.Item": "QuoteItem", "pricingapi.Option": "QuoteOption", "pricingapi.ItemLine": "QuoteRequestItem", "pricingapi.Dropoff": "QuoteRequestDropoff",
				"restaurantapi.Item": "TicketItem", "restaurantapi.AcceptRequest": "TicketAcceptance", "restaurantapi.RejectRequest": "TicketRejection",
				"deliveryapi.Place": "DeliveryPlace", "notificationapi.List": "NotificationList",
				"deadletter.Entry": "DeadLetterEntry", "deadletter.Letter": "DeadLetter", "deadletter.Edit": "DeadLetterEdit", "deadletter.Filter": "DeadLetterFilter",
				"deadletter.List": "DeadLetterList", "deadletter.Overview": "DeadLetterOverview", "deadletter.Trail": "DeadLetterTrail", "deadletter.TrailOverview": "DeadLetterTrailOverview",
				"deadletter.EditRequest": "DeadLetterEditRequest", "deadletter.ActionRequest": "DeadLetterActionRequest", "deadletter.BulkRequest": "DeadLetterBulkRequest",
				"deadletter.Failure": "DeadLetterFailure", "deadletter.Result": "DeadLetterResult", "deadletter.Record": "DeadLetterRecord", "deadletter.Outcome": "DeadLetterOutcome",
				"deadletter.DryRun": "DeadLetterDryRun", "deadletter.AppAnswer": "DeadLetterApp", "deadletter.TopicDepth": "DeadLetterTopic",
				"paymentapi.Entry": "JournalEntry", "analyticsapi.Orders": "OrderCounts", "analyticsapi.Order": "OrderFigures", "analyticsapi.OrderList": "OrderFiguresList",
				"analyticsapi.Restaurant": "RestaurantFigures", "analyticsapi.Day": "DayFigures",
			},
			Values: map[string]openapi.Object{
				"User.role":       {{Key: "enum", Value: []string(everyRole)}},
				"UserPatch.phone": {{Key: "pattern", Value: `^(\+?[1-9][0-9]{7,14})?$`}},
				"Problem.title":   {{Key: "minLength", Value: 1}},
				"DayFigures.date": {{Key: "format", Value: "date"}},
			},
		},
	}
	for _, rt := range routes() {
		op, ok := operations[rt.Method+" "+rt.Pattern]
		if !ok {
			t.Errorf("%s %s is not described: add it to operations", rt.Method, rt.Pattern)
			continue
		}
		d.Operations = append(d.Operations, described(t, rt, op))
	}
	if t.Failed() {
		t.FailNow()
	}
	doc, err := d.YAML()
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// described joins what the table of routes says with what people say.
func described(t *testing.T, rt route, op operation) openapi.Operation {
	t.Helper()
	out := openapi.Operation{
		Method: rt.Method, Path: rt.Pattern, ID: op.id, Tag: op.tag, Summary: op.summary, Description: op.more,
		Token: rt.For[0] == anyone[0], Body: op.body, BodyOptional: rt.Flags.has(bodyOptional), Answers: op.answers,
		Problems: append(derived(rt), op.problems...),
	}
	if rt.For[0] != anyone[0] && rt.For[0] != nobodys[0] {
		out.Roles = rt.For
	}
	if got, want := typeName(op.body), typeName(rt.Body); got != want {
		t.Errorf("%s %s: the example of the body is a %s, the route takes a %s", rt.Method, rt.Pattern, got, want)
	} else if op.body != nil {
		if err := web.Validate(op.body); err != nil {
			t.Errorf("%s %s: the example of the body: %v", rt.Method, rt.Pattern, err)
		}
	}
	for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(rt.Pattern, -1) {
		out.Parameters = append(out.Parameters, openapi.Parameter{Name: m[1], In: "path", Required: true, Example: pathExamples[m[1]],
			Schema: openapi.Object{{Key: "type", Value: "string"}, {Key: "pattern", Value: pathValue.String()}}})
	}
	if rt.Flags.has(idempotent) {
		out.Parameters = append(out.Parameters, openapi.Parameter{Name: web.IdempotencyKeyHeader, In: "header", Required: true, Example: "3f1c6a52-order",
			Description: "New for each intent, the same for its retries.",
			Schema:      openapi.Object{{Key: "type", Value: "string"}, {Key: "pattern", Value: "^[!-~]{8,128}$"}}})
	}
	out.Parameters = append(out.Parameters, op.query...)
	return out
}

var pathExamples = map[string]any{"restaurant": "rst_01", "order": orderID, "item": "itm_0101", "address": address.ID, "type": "not-found", "app": "payment", "letter": letter.ID}

func typeName(v any) string {
	if v == nil {
		return "nothing"
	}
	return reflect.TypeOf(v).String()
}

// derived are the problems that follow from what the gateway asks of a request, see admit and forward.
func derived(rt route) []problem.Type {
	types := []problem.Type{problem.RateLimited, problem.Internal, problem.Unavailable}
	public := rt.For[0] == nobodys[0]
	if rt.App != "" || !public {
		types = append(types, problem.Timeout)
	}
	if !public {
		types = append(types, problem.Unauthenticated, problem.TokenExpired)
		if rt.For[0] != anyone[0] {
			types = append(types, problem.Forbidden)
		}
	}
	if strings.Contains(rt.Pattern, "{") {
		types = append(types, problem.NotFound)
	}
	if rt.Flags.has(idempotent) {
		types = append(types, problem.MissingKey)
	}
	switch {
	case rt.Method == get || rt.Method == del:
	case rt.Body == nil:
		types = append(types, problem.MalformedJSON, problem.TooLarge)
	default:
		types = append(types, problem.MalformedJSON, problem.InvalidRequest, problem.TooLarge, problem.UnsupportedMedia)
	}
	return types
}

// The document that is served is what the code says, to the letter: every route with its method and roles, every type
// with its members and bounds, every problem of the catalogue.
func TestOpenAPI(t *testing.T) {
	got, file := asWritten(t), filepath.Join("..", "openapi.yaml")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("services/openapi.yaml is not what the code says; run go generate ./services/gateway. (-file +code):\n%s",
			cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")))
	}
}

// Nothing is described that does not exist, and every type of problem can come out somewhere.
func TestOperationsExist(t *testing.T) {
	var patterns []string
	used := map[problem.Type]bool{
		problem.MethodNotAllowed: true, // see the document's description
		problem.UnknownVersion:   true, // of events
	}
	for _, rt := range routes() {
		patterns = append(patterns, rt.Method+" "+rt.Pattern)
		for _, p := range append(derived(rt), operations[rt.Method+" "+rt.Pattern].problems...) {
			used[p] = true
		}
	}
	for name := range operations {
		if !slices.Contains(patterns, name) {
			t.Errorf("%s is described, but there is no such route", name)
		}
	}
	for _, typ := range problem.Types() {
		if !used[typ] {
			t.Errorf("no operation says that it can answer with %s", typ)
		}
	}
}
