package deadletter

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/problem"
)

// The sizes of a part, unless the request says another: a replay's is what two cores deliver in about half a second.
const (
	replayPart, dropPart = 300, 500
	// sample is how many letters a dry run shows.
	sample = 20
)

// cursor says where an order stands: letters up to after are done, those after until came later and are not of it.
type cursor struct {
	operation    string
	after, until int
}

func (c cursor) String() string { return fmt.Sprintf("%s-%d-%d", c.operation, c.after, c.until) }

func parseCursor(s string) (cursor, error) {
	parts := strings.Split(s, "-")
	if len(parts) == 3 && ids.Valid("dlo", parts[0]) {
		after, errAfter := strconv.Atoi(parts[1])
		until, errUntil := strconv.Atoi(parts[2])
		if errAfter == nil && errUntil == nil && after >= 0 && until >= after {
			return cursor{parts[0], after, until}, nil
		}
	}
	return cursor{}, problem.New(problem.InvalidRequest, "1 faulty field(s)").
		WithFields(problem.Field{Name: "cursor", Reason: "must be that of the answer before"})
}

// DryRun is what a dry run would do.
type DryRun struct {
	Matched int          `json:"matched"`
	Letters []Entry      `json:"letters"` // the first of them
	Topics  []TopicDepth `json:"topics"`  // of what would be done
}

// dryRun tells what a request would do, and does nothing.
func (b *Box) dryRun(ctx context.Context, f Filter) (DryRun, error) {
	out := DryRun{Letters: []Entry{}}
	h, err := b.head(ctx)
	if err != nil {
		return out, err
	}
	byTopic := depths{}
	err = b.scan(ctx, h.value.pages(), func(page []Entry) bool {
		for _, e := range page {
			if f.Chooses(e) {
				out.Matched++
				byTopic.add(e)
				if len(out.Letters) < sample {
					out.Letters = append(out.Letters, e)
				}
			}
		}
		return true
	})
	out.Topics = byTopic.sorted()
	return out, err
}

// bulk does the next part of an order on all letters that a filter chooses, the oldest first. The state of the order is
// in the cursor alone, so that a client may stop after any part, and go on although the app was killed in between.
func (b *Box) bulk(ctx context.Context, by, action string, req BulkRequest) (Result, error) {
	if req.Filter.Empty() && !req.All {
		return Result{}, problem.New(problem.InvalidRequest, "1 faulty field(s)").
			WithFields(problem.Field{Name: "filter", Reason: "chooses every letter; say so with all"})
	}
	h, err := b.head(ctx)
	if err != nil {
		return Result{}, err
	}
	at := cursor{operation: ids.New("dlo"), until: h.value.Last}
	if req.Cursor != "" {
		if at, err = parseCursor(req.Cursor); err != nil {
			return Result{}, err
		}
	}
	o := order{by: by, action: action, operation: at.operation, reason: req.Reason}
	limit := req.Limit
	if limit == 0 {
		limit = map[string]int{ActionReplay: replayPart, ActionDrop: dropPart}[action]
	}
	part, matched, err := b.next(ctx, h.value, req.Filter, at, limit, req.Cursor == "")
	if err != nil {
		return Result{}, err
	}
	if req.Cursor == "" {
		if err := b.announce(ctx, o, &req.Filter, matched, nil); err != nil {
			return Result{}, err
		}
	}
	batch := readable(part)
	out, left, err := b.carryOut(ctx, o, batch)
	out.Operation, out.Matched = at.operation, matched
	switch {
	case err != nil:
		return out, err
	case left > 0:
		at.after = left - 1
	case len(batch) < len(part) || len(part) == limit:
		at.after = batch[len(batch)-1].Seq
	default:
		return out, nil
	}
	out.Cursor = at.String()
	return out, nil
}

// readable gives the first letters of a part, as many as may be read at once.
func readable(part []Entry) []Entry {
	size := 0
	for i, e := range part {
		if size += e.Size; i > 0 && size > partBytes {
			return part[:i]
		}
	}
	return part
}

// next chooses the letters of a part. With count it goes through all of them and counts.
func (b *Box) next(ctx context.Context, h head, f Filter, at cursor, limit int, count bool) (part []Entry, matched int, err error) {
	pages := slices.DeleteFunc(h.pages(), func(p int) bool { return p < pageOf(at.after+1) || p > pageOf(max(1, at.until)) })
	err = b.scan(ctx, pages, func(page []Entry) bool {
		for _, e := range page {
			if e.Seq <= at.after || e.Seq > at.until || !f.Chooses(e) {
				continue
			}
			matched++
			if len(part) < limit {
				part = append(part, e)
			}
		}
		return count || len(part) < limit
	})
	return part, matched, err
}
