package deadletter

import (
	"encoding/json"
	"time"
)

// Path is where every app serves its dead letters, below its own name. The gateway forwards it unchanged, so that it
// reaches public paths only, here as everywhere.
const Path = "/v1/dead-letters"

// Entry is what the index knows of a letter: enough to list and to filter.
type Entry struct {
	Seq      int       `json:"seq"` // in the order in which an app took its letters in, from 1
	ID       string    `json:"id"`  // <app>_<26 characters>
	App      string    `json:"app"`
	Topic    string    `json:"topic"`
	Event    string    `json:"event,omitempty"` // the event's id; "" if it can't be read
	Type     string    `json:"type,omitempty"`  // the event's type
	Subject  string    `json:"subject,omitempty"`
	Cause    string    `json:"cause"`
	Attempts int       `json:"attempts"` // all that failed, replays included
	First    time.Time `json:"first_failure"`
	Last     time.Time `json:"last_failure"`
	Size     int       `json:"size"`    // of the original as it is kept, in bytes
	Edits    int       `json:"edits"`   // how often its body was changed
	Replays  int       `json:"replays"` // how often it was replayed without success
}

// Letter is a dead letter as it is shown.
type Letter struct {
	Entry
	CorrelationID string `json:"correlation_id,omitempty"`
	TraceID       string `json:"trace_id,omitempty"`
	// Original is the event as it was delivered, where that is text; else it is in OriginalBase64.
	Original       string `json:"original,omitempty"`
	OriginalBase64 []byte `json:"original_base64,omitempty"`
	Cut            int    `json:"cut,omitempty"`  // bytes that are missing at the end of the original
	Edit           *Edit  `json:"edit,omitempty"` // what a replay takes instead of the original
}

// Edit is a changed body.
type Edit struct {
	Body json.RawMessage `json:"body"`
	By   string          `json:"by"` // the operator's user id
	At   time.Time       `json:"at"`
}

// Filter chooses letters; what is empty chooses all.
type Filter struct {
	Topic   string    `json:"topic,omitempty" validate:"max=200"`
	Type    string    `json:"type,omitempty" validate:"max=200"`
	Subject string    `json:"subject,omitempty" validate:"max=200"`
	Cause   string    `json:"cause,omitempty" validate:"max=200"` // a part of it, in upper or lower case
	Since   time.Time `json:"since,omitzero"`                     // failed last at that time or later
	Until   time.Time `json:"until,omitzero"`                     // failed last before that time
}

// TopicDepth is how many letters of a topic there are, and since when.
type TopicDepth struct {
	Topic  string    `json:"topic"`
	Count  int       `json:"count"`
	Oldest time.Time `json:"oldest"` // first failure
}

// List is an app's letters, the newest first.
type List struct {
	App     string       `json:"app"`
	Letters []Entry      `json:"letters"`
	Matched int          `json:"matched"` // by the filter, on all pages
	Total   int          `json:"total"`
	Topics  []TopicDepth `json:"topics"`
	Next    int          `json:"next,omitempty"` // for the next page: before=<next>; 0 at the end
}

// AppAnswer says what one app had to say to a question that all were asked.
type AppAnswer struct {
	App     string       `json:"app"`
	Matched int          `json:"matched"`
	Total   int          `json:"total"`
	Topics  []TopicDepth `json:"topics,omitempty"`
	Problem string       `json:"problem,omitempty"` // why its letters are not in the answer
}

// Overview is the letters of all apps, the newest first.
type Overview struct {
	Letters  []Entry     `json:"letters"`
	Matched  int         `json:"matched"`
	Total    int         `json:"total"`
	Complete bool        `json:"complete"` // every app answered
	Apps     []AppAnswer `json:"apps"`
}

// EditRequest changes what a replay of a letter delivers.
type EditRequest struct {
	Body json.RawMessage `json:"body" validate:"required"` // a whole event, in place of the original
}

// ActionRequest asks for a replay or for the end of one letter.
type ActionRequest struct {
	Reason string `json:"reason,omitempty" validate:"max=500"` // for the trail
}

// BulkRequest asks to replay or to drop what a filter chooses, a part at a time: the answer says how to go on.
type BulkRequest struct {
	Filter Filter `json:"filter"`
	All    bool   `json:"all,omitempty"` // must be said where the filter chooses all
	DryRun bool   `json:"dry_run,omitempty"`
	Limit  int    `json:"limit,omitempty" validate:"gte=0,lte=500"` // letters of this part; 0: as many as are good
	Cursor string `json:"cursor,omitempty" validate:"max=100"`      // of the part before; "" begins
	Reason string `json:"reason,omitempty" validate:"max=500"`      // for the trail
}

// Failure is a letter that was replayed without success and is kept.
type Failure struct {
	ID    string `json:"id"`
	Event string `json:"event,omitempty"`
	Cause string `json:"cause"`
}

// Result is what came of a replay or of dropping letters.
type Result struct {
	Operation string    `json:"operation,omitempty"` // as the trail calls it
	Matched   int       `json:"matched"`             // of the whole, known to the first part
	Done      int       `json:"done"`                // letters that are gone now
	Failed    []Failure `json:"failed"`
	Cursor    string    `json:"cursor,omitempty"` // for the next part; "": that was all
}

// The actions of the trail.
const (
	ActionReplay = "replay"
	ActionDrop   = "drop"
	ActionEdit   = "edit"
)

// Record is a line of the trail: who did what, when. A replay has one when it is asked for and one for each part that
// was carried out.
type Record struct {
	Seq       int       `json:"seq"`
	App       string    `json:"app"`
	At        time.Time `json:"at"`
	By        string    `json:"by"` // the operator's user id
	Action    string    `json:"action"`
	Operation string    `json:"operation"`
	Phase     string    `json:"phase"` // requested or done
	Reason    string    `json:"reason,omitempty"`
	Filter    *Filter   `json:"filter,omitempty"`
	Matched   int       `json:"matched,omitempty"`
	Done      int       `json:"done"`
	Failed    int       `json:"failed"`
	Letters   []Outcome `json:"letters,omitempty"`
	More      int       `json:"more,omitempty"` // letters that are left out in a list; a list of one record has all
}

// The phases of a Record.
const (
	PhaseRequested = "requested"
	PhaseDone      = "done"
)

// Outcome is what became of one letter.
type Outcome struct {
	ID    string `json:"id"`
	Event string `json:"event,omitempty"`
	Cause string `json:"cause,omitempty"` // why it failed; "": it did not
}

// Trail is an app's records, the newest first.
type Trail struct {
	App     string   `json:"app"`
	Records []Record `json:"records"`
	Next    int      `json:"next,omitempty"` // for the next page: before=<next>; 0 at the end
}

// TrailOverview is the records of all apps, the newest first.
type TrailOverview struct {
	Records  []Record    `json:"records"`
	Complete bool        `json:"complete"` // every app answered
	Apps     []AppAnswer `json:"apps"`
}
