package deadletter

import (
	"context"
	"slices"

	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// record adds a line to the trail, in the transaction of what it tells of. Lines are never changed nor removed.
func (c *change) record(r Record) error {
	c.head.value.Trail++
	c.head.changed = true
	r.Seq, r.App = c.head.value.Trail, c.box.app
	d := document[Record]{value: r}
	op, err := d.op(recordKey(r.Seq))
	if err != nil {
		return err
	}
	c.ops = append(c.ops, op)
	return nil
}

// listedOutcomes is how many letters of a record are listed, so that a list of records stays readable.
const listedOutcomes = 20

// Trail gives the records, the newest first, at most limit of those with a number below before (0: from the newest).
func (b *Box) Trail(ctx context.Context, before, limit int) (Trail, error) {
	out := Trail{App: b.app, Records: []Record{}}
	h, err := b.head(ctx)
	if err != nil {
		return out, err
	}
	last := h.value.Trail
	if before > 0 {
		last = min(last, before-1)
	}
	var keys []string
	for n := last; n > max(0, last-limit); n-- {
		keys = append(keys, recordKey(n))
	}
	for part := range slices.Chunk(keys, readAhead) {
		var items []sidecar.Item
		if items, err = b.state.GetBulk(ctx, part); err != nil {
			return out, err
		}
		for i, item := range items {
			d, err := decode[Record](part[i], item)
			if err != nil {
				return out, err
			}
			r := d.value
			if n := len(r.Letters) - listedOutcomes; n > 0 && limit > 1 {
				r.Letters, r.More = r.Letters[:listedOutcomes], n
			}
			out.Records = append(out.Records, r)
		}
	}
	if n := last - limit; n > 0 {
		out.Next = n + 1
	}
	return out, nil
}
