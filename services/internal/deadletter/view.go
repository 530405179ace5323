package deadletter

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/problem"
)

const (
	// defaultListed and MaxListed are how many letters or records a page of an answer has.
	defaultListed, MaxListed = 50, 500
)

// Empty tells whether the filter chooses every letter.
func (f Filter) Empty() bool { return f == Filter{} }

// Chooses tells whether a letter is wanted.
func (f Filter) Chooses(e Entry) bool {
	return (f.Topic == "" || f.Topic == e.Topic) && (f.Type == "" || f.Type == e.Type) && (f.Subject == "" || f.Subject == e.Subject) &&
		(f.Cause == "" || strings.Contains(strings.ToLower(e.Cause), strings.ToLower(f.Cause))) &&
		!e.Last.Before(f.Since) && (f.Until.IsZero() || e.Last.Before(f.Until))
}

// depths sums letters up by topic.
type depths map[string]TopicDepth

func (d depths) add(e Entry) {
	t, ok := d[e.Topic]
	if !ok {
		t = TopicDepth{Topic: e.Topic, Oldest: e.First}
	}
	t.Count++
	if e.First.Before(t.Oldest) {
		t.Oldest = e.First
	}
	d[e.Topic] = t
}

func (d depths) sorted() []TopicDepth {
	all := []TopicDepth{}
	for _, t := range d {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b TopicDepth) int { return cmp.Compare(a.Topic, b.Topic) })
	return all
}

// List gives the letters that the filter chooses, the newest first, at most limit of those with a number below before
// (0: from the newest).
func (b *Box) List(ctx context.Context, f Filter, before, limit int) (List, error) {
	out := List{App: b.app, Letters: []Entry{}}
	h, err := b.head(ctx)
	if err != nil {
		return out, err
	}
	pages := h.value.pages()
	slices.Reverse(pages)
	byTopic := depths{}
	err = b.scan(ctx, pages, func(page []Entry) bool {
		for _, e := range slices.Backward(page) {
			out.Total++
			byTopic.add(e)
			if !f.Chooses(e) {
				continue
			}
			out.Matched++
			switch {
			case before > 0 && e.Seq >= before:
			case len(out.Letters) < limit:
				out.Letters = append(out.Letters, e)
			case len(out.Letters) > 0:
				out.Next = out.Letters[limit-1].Seq
			}
		}
		return true
	})
	out.Topics = byTopic.sorted()
	return out, err
}

// Show gives a letter. One that was dealt with is no more; the problem says who did what.
func (b *Box) Show(ctx context.Context, id string) (Letter, error) {
	l, err := b.open(ctx, id)
	return l.shown(), err
}

// open reads a letter that is still here.
func (b *Box) open(ctx context.Context, id string) (stored, error) {
	if !ids.Valid(b.app, id) {
		return stored{}, notFound(id)
	}
	item, err := b.state.Get(ctx, letterKey(id))
	if err != nil {
		return stored{}, err
	}
	d, err := decode[stored](letterKey(id), item)
	if err != nil {
		return stored{}, err
	}
	return d.value, here(id, d.value)
}

// here refuses a letter that there is not.
func here(id string, l stored) error {
	switch {
	case l.ID == "":
		return notFound(id)
	case l.Gone != nil:
		return problem.New(problem.NotFound, "dead letter %s is gone: %s by %s at %s", id, past[l.Gone.How], l.Gone.By, l.Gone.At.Format(time.RFC3339))
	}
	return nil
}

var past = map[string]string{ActionReplay: "replayed", ActionDrop: "dropped"}

func notFound(id string) error {
	return problem.New(problem.NotFound, "there is no dead letter %.100s", id)
}
