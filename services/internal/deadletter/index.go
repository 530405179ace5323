package deadletter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// The index finds letters without a query. A letter gets the next number when it is taken in, and its entry goes to the
// page of that number; the head knows the next number and which pages have entries. To take a letter in, or to end it,
// writes one page and the head, however many letters there are. A page's ETag guards its letters: each change of a
// letter changes its page.
const (
	headKey   = "dead-letters/head"
	pageSize  = 50
	readAhead = 40 // pages per read: some 2 MB at most
)

func letterKey(id string) string { return "dead-letter/" + id }
func pageKey(n int) string       { return "dead-letters/page/" + strconv.Itoa(n) }
func recordKey(n int) string     { return "dead-letters/trail/" + strconv.Itoa(n) }

func pageOf(seq int) int { return (seq - 1) / pageSize }

// span is a range of pages, both ends included.
type span [2]int

// head is the root of the index and of the trail.
type head struct {
	Last  int    `json:"last"`  // the number of the last letter
	Pages []span `json:"pages"` // those with entries, ascending
	Trail int    `json:"trail"` // the number of the last record
}

// has tells whether a page has entries.
func (h head) has(page int) bool {
	return slices.ContainsFunc(h.Pages, func(s span) bool { return s[0] <= page && page <= s[1] })
}

func (h *head) put(page int) {
	if h.has(page) {
		return
	}
	at, _ := slices.BinarySearchFunc(h.Pages, page, func(s span, p int) int { return s[0] - p })
	h.Pages = slices.Insert(h.Pages, at, span{page, page})
	if at+1 < len(h.Pages) && h.Pages[at+1][0] == page+1 {
		h.Pages[at][1] = h.Pages[at+1][1]
		h.Pages = slices.Delete(h.Pages, at+1, at+2)
	}
	if at > 0 && h.Pages[at-1][1] == page-1 {
		h.Pages[at-1][1] = h.Pages[at][1]
		h.Pages = slices.Delete(h.Pages, at, at+1)
	}
}

func (h *head) remove(page int) {
	for i, s := range h.Pages {
		if page < s[0] || page > s[1] {
			continue
		}
		var rest []span
		if s[0] < page {
			rest = append(rest, span{s[0], page - 1})
		}
		if page < s[1] {
			rest = append(rest, span{page + 1, s[1]})
		}
		h.Pages = slices.Replace(h.Pages, i, i+1, rest...)
		return
	}
}

// pages lists the pages with entries, ascending.
func (h head) pages() []int {
	var all []int
	for _, s := range h.Pages {
		for p := s[0]; p <= s[1]; p++ {
			all = append(all, p)
		}
	}
	return all
}

// document is a value that was read, and what it has become.
type document[T any] struct {
	item    sidecar.Item
	value   T
	changed bool
}

func decode[T any](key string, item sidecar.Item) (*document[T], error) {
	d := &document[T]{item: item}
	if item.Exists() {
		if err := json.Unmarshal(item.Value, &d.value); err != nil {
			return nil, fmt.Errorf("%s is damaged: %w", key, err)
		}
	}
	return d, nil
}

func (d *document[T]) op(key string) (sidecar.Op, error) {
	value, err := json.Marshal(d.value)
	if err != nil {
		return sidecar.Op{}, fmt.Errorf("%s: %w", key, err)
	}
	return sidecar.Op{Key: key, Value: value, ETag: d.item.ETag, Create: !d.item.Exists()}, nil
}

// change is one transaction on letters, index and trail.
type change struct {
	box   *Box
	ctx   context.Context
	read  map[string]sidecar.Item
	head  *document[head]
	pages map[int]*document[[]Entry]
	ops   []sidecar.Op
}

// attempts bounds how often a change is tried that other replicas get in the way of.
const attempts = 10

// change carries f out as one transaction, again from the start when somebody else wrote in between. keys are what f
// will read; they are read at once.
func (b *Box) change(ctx context.Context, keys []string, f func(*change) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	keys = append(slices.Clone(keys), headKey)
	for try := 1; ; try++ {
		items, err := b.state.GetBulk(ctx, keys)
		if err != nil {
			return err
		}
		c := &change{box: b, ctx: ctx, read: make(map[string]sidecar.Item, len(keys)), pages: map[int]*document[[]Entry]{}}
		for i, k := range keys {
			c.read[k] = items[i]
		}
		if c.head, err = decode[head](headKey, c.read[headKey]); err != nil {
			return err
		}
		if err := f(c); err != nil {
			return err
		}
		ops, err := c.operations()
		if err != nil || len(ops) == 0 {
			return err
		}
		err = b.state.Transact(ctx, ops...)
		if err == nil {
			b.tail = pageOf(c.head.value.Last + 1)
			b.written()
			return nil
		}
		if !errors.Is(err, sidecar.ErrConflict) {
			return err
		}
		if try == attempts {
			return problem.Wrap(err, problem.WriteConflict, "the dead letters of %s are being written by others", b.app)
		}
	}
}

// page gives a page to be read and, with changed set, written.
func (c *change) page(n int) (*document[[]Entry], error) {
	if p, ok := c.pages[n]; ok {
		return p, nil
	}
	key := pageKey(n)
	item, ok := c.read[key]
	if !ok {
		var err error
		if item, err = c.box.state.Get(c.ctx, key); err != nil {
			return nil, err
		}
	}
	p, err := decode[[]Entry](key, item)
	if err == nil {
		c.pages[n] = p
	}
	return p, err
}

// find gives the entry of a letter and its page; at is -1 if the letter is gone.
func (c *change) find(seq int, id string) (page *document[[]Entry], at int, err error) {
	if page, err = c.page(pageOf(seq)); err != nil {
		return nil, -1, err
	}
	return page, slices.IndexFunc(page.value, func(e Entry) bool { return e.Seq == seq && e.ID == id }), nil
}

func (c *change) letter(id string) (stored, error) {
	key := letterKey(id)
	item, ok := c.read[key]
	if !ok {
		var err error
		if item, err = c.box.state.Get(c.ctx, key); err != nil {
			return stored{}, err
		}
	}
	d, err := decode[stored](key, item)
	if err != nil {
		return stored{}, err
	}
	return d.value, nil
}

// write puts a letter; its page must change, too.
func (c *change) write(l stored) error {
	value, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("letter %s: %w", l.ID, err)
	}
	op := sidecar.Op{Key: letterKey(l.ID), Value: value}
	if l.Gone != nil {
		op.TTL = goneFor
	}
	c.ops = append(c.ops, op)
	return nil
}

// operations is what the change comes to.
func (c *change) operations() ([]sidecar.Op, error) {
	ops := c.ops
	for n, p := range c.pages {
		switch {
		case !p.changed:
			continue
		case len(p.value) > 0:
			if !c.head.value.has(n) {
				c.head.value.put(n)
				c.head.changed = true
			}
			op, err := p.op(pageKey(n))
			if err != nil {
				return nil, err
			}
			ops = append(ops, op)
		case p.item.Exists():
			c.head.value.remove(n)
			c.head.changed = true
			ops = append(ops, sidecar.Op{Key: pageKey(n), ETag: p.item.ETag, Delete: true})
		}
	}
	if c.head.changed {
		op, err := c.head.op(headKey)
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	return ops, nil
}

// scan visits the entries of pages, one page after the other in the order that is given, until visit says that it is
// enough.
func (b *Box) scan(ctx context.Context, pages []int, visit func([]Entry) (more bool)) error {
	for part := range slices.Chunk(pages, readAhead) {
		keys := make([]string, len(part))
		for i, n := range part {
			keys[i] = pageKey(n)
		}
		items, err := b.state.GetBulk(ctx, keys)
		if err != nil {
			return err
		}
		for i, item := range items {
			p, err := decode[[]Entry](keys[i], item)
			if err != nil {
				return err
			}
			if !visit(p.value) {
				return nil
			}
		}
	}
	return nil
}

func (b *Box) head(ctx context.Context) (*document[head], error) {
	item, err := b.state.Get(ctx, headKey)
	if err != nil {
		return nil, err
	}
	return decode[head](headKey, item)
}
