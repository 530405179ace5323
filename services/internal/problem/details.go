package problem

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Domain marks the ErrorInfo of this platform's problems.
const Domain = "dishmesh"

// Details are the error as typed calls carry it, in the messages that Google's API guidelines (AIP-193) name: ErrorInfo
// with the type, such as QUOTE_EXPIRED, BadRequest with the faulty fields, RetryInfo with the time to wait.
func (e *Error) Details() []proto.Message {
	details := []proto.Message{&errdetails.ErrorInfo{Domain: Domain, Reason: strings.ToUpper(strings.ReplaceAll(string(e.Type), "-", "_"))}}
	if len(e.Fields) > 0 {
		bad := &errdetails.BadRequest{}
		for _, f := range e.Fields {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: f.Name, Description: f.Reason})
		}
		details = append(details, bad)
	}
	if e.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
	}
	return details
}

// FromDetails is the inverse of Details; nil if they are not those of a problem of this platform.
func FromDetails(message string, details []proto.Message) *Error {
	var e *Error
	for _, d := range details {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.Domain == Domain {
			t := Type(strings.ToLower(strings.ReplaceAll(info.Reason, "_", "-")))
			if _, known := catalogue[t]; !known {
				return nil
			}
			e = New(t, "%s", message)
		}
	}
	if e == nil {
		return nil
	}
	for _, d := range details {
		switch d := d.(type) {
		case *errdetails.BadRequest:
			for _, v := range d.FieldViolations {
				e.Fields = append(e.Fields, Field{Name: v.Field, Reason: v.Description})
			}
		case *errdetails.RetryInfo:
			e.RetryAfter = d.RetryDelay.AsDuration().Round(time.Millisecond)
		}
	}
	return e
}

// readConnect reads the body of a failed unary call of the Connect protocol; nil if it is none of this platform.
func readConnect(body []byte) *Error {
	var doc struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Details []struct {
			Type  string `json:"type"`
			Value string `json:"value"`
		} `json:"details"`
	}
	if json.Unmarshal(body, &doc) != nil || doc.Code == "" {
		return nil
	}
	var details []proto.Message
	for _, d := range doc.Details {
		m := map[string]proto.Message{
			"google.rpc.ErrorInfo": &errdetails.ErrorInfo{}, "google.rpc.BadRequest": &errdetails.BadRequest{}, "google.rpc.RetryInfo": &errdetails.RetryInfo{},
		}[d.Type]
		value, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(d.Value, "="))
		if m == nil || err != nil || proto.Unmarshal(value, m) != nil {
			continue // a detail that is not ours to read
		}
		details = append(details, m)
	}
	return FromDetails(doc.Message, details)
}
