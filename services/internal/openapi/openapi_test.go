package openapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/dishmesh/dishmesh/services/internal/openapi"
	"github.com/dishmesh/dishmesh/services/internal/problem"
)

// Colour is what paint can be.
type Colour string

// The colours.
const (
	Red  Colour = "red"
	Blue Colour = "blue"
)

// Price is embedded.
type Price struct {
	Amount int64 `json:"amount" validate:"min=1,max=9"` // minor units
}

// Paint is sent.
type Paint struct {
	Name   string   `json:"name" validate:"required,max=5"`
	Mail   string   `json:"mail,omitempty" validate:"omitempty,email"`
	Phone  string   `json:"phone,omitempty" validate:"omitempty,e164"`
	Size   string   `json:"size,omitempty" validate:"omitempty,oneof=big small"`
	Kind   string   `json:"kind" validate:"oneof=matt gloss"`
	Share  *float64 `json:"share" validate:"required,gte=0,lte=1"`
	Tags   []string `json:"tags" validate:"max=3,unique,dive,required,max=4"`
	Lat    *int     `json:"lat" validate:"required_with=Lon"`
	Lon    *int     `json:"lon" validate:"required_with=Lat"`
	Colour Colour   `json:"colour,omitempty"`
	Price
}

// Wall is answered.
type Wall struct {
	ID      string         `json:"id"`
	Done    *time.Time     `json:"done"`
	Begun   time.Time      `json:"begun,omitzero"`
	Counts  map[string]int `json:"counts"`
	Anybody any            `json:"anybody"`
	Price
}

func write(t *testing.T, ops ...openapi.Operation) (string, error) {
	t.Helper()
	doc, err := openapi.Document{Comment: "A test.", Title: "T", Version: "1", Operations: ops,
		Schemas: &openapi.Schemas{Sources: &openapi.Sources{Module: "github.com/dishmesh/dishmesh", Root: "../../.."}}}.YAML()
	return string(doc), err
}

func TestSchemas(t *testing.T) {
	doc, err := write(t, openapi.Operation{Method: "POST", Path: "/walls/{wall}", ID: "paint", Tag: "walls", Summary: "Paint", Roles: []string{"painter"}, Body: Paint{},
		Answers: []openapi.Answer{{Status: 201, Description: "Done.", Body: Wall{}, Headers: []string{"ETag"}}}, Problems: []problem.Type{problem.NotFound, problem.TooLate}})
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Paths      map[string]map[string]map[string]any
		Components struct{ Schemas map[string]any }
	}
	if err := yaml.Unmarshal([]byte(doc), &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Paint": `
type: object
description: Paint is sent.
required: [amount, kind, name, share]
properties:
  name: {type: string, minLength: 1, maxLength: 5}
  mail: {type: [string, "null"], format: email}
  phone: {type: [string, "null"], pattern: '^(\+?[1-9][0-9]{7,14})?$'}
  size: {type: [string, "null"], enum: [big, small, "", null]}
  kind: {type: string, enum: [matt, gloss]}
  share: {type: number, minimum: 0, maximum: 1}
  tags: {type: [array, "null"], maxItems: 3, uniqueItems: true, items: {type: string, minLength: 1, maxLength: 4}}
  lat: {type: [integer, "null"], format: int64}
  lon: {type: [integer, "null"], format: int64}
  colour: {type: [string, "null"], enum: [red, blue, null]}
  amount: {type: integer, format: int64, minimum: 1, maximum: 9, description: minor units}
dependentRequired: {lat: [lon], lon: [lat]}
additionalProperties: false`,
		"Wall": `
type: object
description: Wall is answered.
required: [amount, anybody, counts, done, id]
properties:
  id: {type: string}
  done: {type: [string, "null"], format: date-time}
  begun: {type: string, format: date-time}
  counts: {type: object, additionalProperties: {type: integer, format: int64}}
  anybody: {}
  amount: {type: integer, format: int64, minimum: 1, maximum: 9, description: minor units}`,
	} {
		var w any
		if err := yaml.Unmarshal([]byte(want), &w); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(w, got.Components.Schemas[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	op := got.Paths["/walls/{wall}"]["post"]
	if diff := cmp.Diff([]any{"painter"}, op["x-roles"]); diff != "" {
		t.Errorf("roles (-want +got):\n%s", diff)
	}
	for _, status := range []string{"201", "404", "409"} {
		if op["responses"].(map[string]any)[status] == nil {
			t.Errorf("no answer %s in\n%s", status, doc)
		}
	}
}

// What is left out or said twice is an error that names it.
func TestRefuses(t *testing.T) {
	good := openapi.Operation{Method: "GET", Path: "/", ID: "a", Tag: "t", Summary: "s", Answers: []openapi.Answer{{Status: 204, Description: "d"}}}
	for name, spoil := range map[string]func(*openapi.Operation) []openapi.Operation{
		"needs an id":  func(o *openapi.Operation) []openapi.Operation { o.ID = ""; return nil },
		"an answer":    func(o *openapi.Operation) []openapi.Operation { o.Answers = nil; return nil },
		"id of its":    func(o *openapi.Operation) []openapi.Operation { return []openapi.Operation{*o} },
		"not describe": func(o *openapi.Operation) []openapi.Operation { o.Answers[0].Headers = []string{"X"}; return nil },
		"can't be":     func(o *openapi.Operation) []openapi.Operation { o.Body = Bad{}; return nil },
	} {
		op := good
		op.Answers = append([]openapi.Answer(nil), good.Answers...)
		more := spoil(&op)
		if _, err := write(t, append(more, op)...); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Bad has a member that can't be in JSON.
type Bad struct {
	C chan int `json:"c"`
}
