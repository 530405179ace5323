package conformance

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// pair is a subscription that the platform has too, so that a broker on which somebody must make queues or topics has
// those of the checks. Every check has a pair of its own: what one leaves does not disturb another.
type pair struct{ app, entity string }

func (p pair) topic() string { return cloudevent.Topic(p.entity) }

// The pairs of the checks.
var (
	pairFirst       = pair{"pricing", "menu"}
	pairOneKey      = pair{"notification", "delivery"}
	pairManyKeys    = pair{"analytics", "payment"}
	pairReplicaKeys = pairManyKeys // that check is over by then, and left nothing
	pairRedelivery  = pair{"analytics", "restaurant"}
	pairBlocking    = pair{"analytics", "order"}
	pairPoison      = pair{"order", "delivery"}
	pairDead        = pair{"payment", "order"}
	pairSidecarKill = pair{"notification", "order"}
	pairAppKill     = pair{"notification", "payment"}
	pairReplicas    = pair{"notification", "user"}
	pairReplicaKill = pair{"analytics", "user"}
	pairLarge       = pair{"delivery", "restaurant"}
	pairShortOutage = pair{"analytics", "delivery"}
	pairLongOutage  = pair{"order", "restaurant"}
	pairCrash       = pair{"pricing", "order"}
)

// publisher is the app that publishes the events of the checks.
const publisher = "user"

// onTopic routes the deliveries of one topic to h and refuses everything else.
func onTopic(of string, h http.Handler) http.Handler {
	r := web.Router()
	r.Handle(topic.Path(of), h)
	return r
}

// listen starts a node of the pair's app that gives its deliveries to p, and waits until it hears.
func (e *Env) listen(ctx context.Context, at pair, p *probe) (*listening, error) {
	return e.listenAll(ctx, at, p, 1)
}

// listening is a publisher, one or more subscribers and what was published.
type listening struct {
	*ledger
	nodes []Node
}

func (l *listening) close() {
	for _, n := range l.nodes {
		n.Close()
	}
}

// replica names the n-th replica in deliveries.
func replica(n int) string { return fmt.Sprintf("replica-%d", n) }

func (e *Env) listenAll(ctx context.Context, at pair, p *probe, replicas int) (*listening, error) {
	from, err := e.Bench.Shared(ctx, publisher, 0)
	if err != nil {
		return nil, err
	}
	l := &listening{ledger: &ledger{run: p.run, topic: at.topic(), pub: from}}
	var names []string
	for i := range replicas {
		n, err := e.Bench.Node(ctx, NodeSpec{App: at.app, Instance: i, Topics: []string{at.topic()},
			Handler: onTopic(at.topic(), p.as(replica(i)))})
		if err != nil {
			l.close()
			return nil, err
		}
		l.nodes = append(l.nodes, n)
		names = append(names, replica(i))
	}
	if err := greet(ctx, from, at.topic(), p, names...); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// orderCheck publishes per events of n keys for an app of some replicas and looks at the order in which they come.
func orderCheck(at pair, nKeys, per, publishers, replicas int) func(context.Context, *Env) (Outcome, error) {
	return func(ctx context.Context, e *Env) (Outcome, error) {
		per := e.Times.n(per)
		out := Outcome{Did: fmt.Sprintf("%d events of each of %s, by %s; for %s; every seventh takes 10 ms to handle",
			per, count(nKeys, "key"), count(publishers, "publisher"), count(replicas, "replica"))}
		run := func(p *probe) (tally, float64, error) {
			l, err := e.listenAll(ctx, at, p, replicas)
			if err != nil {
				return tally{}, 0, err
			}
			defer l.close()
			begun := time.Now()
			if err := l.sendEach(ctx, keys(nKeys), per, publishers); err != nil {
				return tally{}, 0, err
			}
			sent := l.acknowledged()
			until(ctx, e.Times.Patience, func() bool { return p.has(sent) })
			return compare(sent, p.deliveries()), float64(len(sent)) / time.Since(begun).Seconds(), ctx.Err()
		}
		slow := func(d delivery) answer {
			if d.n%7 == 0 {
				return answer{delay: 10 * time.Millisecond}
			}
			return handled
		}
		raw, rate, err := run(newProbe(e.Run, slow))
		if err != nil {
			return out, err
		}
		var onTop *tally
		if !raw.InOrder() && raw.Lost == 0 {
			e.Say("the broker does not keep it; once more through our consumer")
			t, err := e.orderOnTop(ctx, at, newProbe(e.Run+"-top", slow), nKeys, per, publishers, replicas)
			if err != nil {
				return out, err
			}
			onTop = &t
		}
		judgeOrder(&out, raw, onTop)
		out.Figures["per_second"] = rate
		return out, nil
	}
}

// judgeOrder gives the verdict on order: what the broker did, and what came out of our consumer where that was tried.
func judgeOrder(out *Outcome, raw tally, onTop *tally) {
	out.Figures = raw.figures()
	out.Figure = fmt.Sprintf("%d events, %d reordered, %d side by side, %d repeated", raw.Acked, raw.Reordered, raw.SideBySide, raw.Repeated)
	switch {
	case raw.Lost > 0:
		out.Verdict, out.Reason = NotKept, lostReason(raw)
	case raw.InOrder():
		out.Verdict = Kept
	case onTop == nil:
		out.Verdict, out.Reason = NotKept, "events of one key overtake each other"+examples(raw.OutOfOrder)
	case onTop.Lost > 0:
		out.Verdict, out.Reason = NotKept, "the broker reorders, and through our consumer "+lostReason(*onTop)
	case !onTop.InOrder():
		out.Verdict = NotKept
		out.Reason = fmt.Sprintf("the broker reorders, and our consumer does not restore it: %d reordered, %d side by side%s",
			onTop.Reordered, onTop.SideBySide, examples(onTop.OutOfOrder))
	case onTop.Repeated > 0:
		out.Verdict, out.Reason = NotKept, fmt.Sprintf("the broker reorders, and our consumer takes %s in twice", count(onTop.Repeated, "event"))
	default:
		out.Verdict, out.Reason = KeptOnTop, fmt.Sprintf("the broker reorders; our consumer (services/internal/topic) takes all %d in, in order", onTop.Acked)
	}
}

func lostReason(t tally) string {
	return fmt.Sprintf("%d of %d acknowledged events never came%s", t.Lost, t.Acked, examples(t.LostOnes))
}

// examples puts a few in brackets.
func examples(of []string) string {
	if len(of) == 0 {
		return ""
	}
	return " (" + strings.Join(of, ", ") + ", …)"
}

// count writes a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// checkFirstSubscription publishes before anybody ever subscribed.
func checkFirstSubscription(ctx context.Context, e *Env) (Outcome, error) {
	at := pairFirst
	out := Outcome{Did: "20 events published before their app had ever run, then the app started"}
	from, err := e.Bench.Shared(ctx, publisher, 0)
	if err != nil {
		return out, err
	}
	p := newProbe(e.Run, nil)
	l := &ledger{run: p.run, topic: at.topic(), pub: from}
	if err := l.sendEach(ctx, keys(4), 5, 1); err != nil {
		return out, err
	}
	n, err := e.Bench.Node(ctx, NodeSpec{App: at.app, Topics: []string{at.topic()}, Handler: onTopic(at.topic(), p.as(replica(0)))})
	if err != nil {
		return out, err
	}
	defer n.Close()
	begun := time.Now()
	if err := greet(ctx, from, at.topic(), p, replica(0)); err != nil {
		return out, err
	}
	sent := l.acknowledged()
	// What is not there soon after a later event was heard does not come any more.
	until(ctx, e.Times.Patience/8, func() bool { return p.has(sent) })
	t := compare(sent, p.deliveries())
	out.Figures = t.figures()
	out.Figure = fmt.Sprintf("%d of %d heard, %.1f s after the start", t.Acked-t.Lost, t.Acked, time.Since(begun).Seconds())
	out.Verdict = Kept
	if t.Lost > 0 {
		out.Verdict, out.Reason = NotKept, "what was published before the first subscription: "+lostReason(t)
	}
	return out, ctx.Err()
}

// largest is the size in bytes of ballast that must get through: a dead letter with the largest original that it may
// hold is about this big.
const largest = 1_000_000

// checkLarge sends ever larger events.
func checkLarge(ctx context.Context, e *Env) (Outcome, error) {
	sizes := []int{64 << 10, 256 << 10, 640 << 10, 900_000, largest, 2 << 20, 4 << 20}
	out := Outcome{Did: fmt.Sprintf("one event each of %s", joinSizes(sizes))}
	p := newProbe(e.Run, nil)
	l, err := e.listen(ctx, pairLarge, p)
	if err != nil {
		return out, err
	}
	defer l.close()
	var got []sizeResult
	for i, size := range sizes {
		l.pad = size
		m := message{"large", i + 1}
		once, cancel := context.WithTimeout(ctx, 20*time.Second)
		err := l.publish(once, m)
		cancel()
		r := sizeResult{size: size, accepted: err == nil}
		if r.accepted {
			r.arrived = until(ctx, e.Times.Patience/6, func() bool { return p.has([]message{m}) })
		}
		got = append(got, r)
	}
	judgeSizes(&out, got, compare(l.acknowledged(), p.deliveries()).Damaged)
	return out, ctx.Err()
}

// sizeResult is what became of an event of a size.
type sizeResult struct {
	size              int
	accepted, arrived bool
}

func judgeSizes(out *Outcome, got []sizeResult, damaged int) {
	out.Verdict = Kept
	most, refused := 0, 0
	for _, r := range got {
		switch {
		case r.accepted && !r.arrived:
			out.Verdict, out.Reason = NotKept, fmt.Sprintf("an event of %s was acknowledged and never came", sizeText(r.size))
		case r.accepted:
			most = max(most, r.size)
		case r.size <= largest:
			out.Verdict, out.Reason = NotKept, fmt.Sprintf("an event of %s was refused", sizeText(r.size))
		case refused == 0:
			refused = r.size
		}
	}
	if damaged > 0 {
		out.Verdict, out.Reason = NotKept, fmt.Sprintf("%s came damaged", count(damaged, "event"))
	}
	out.Figures = map[string]float64{"largest_bytes": float64(most), "refused_bytes": float64(refused), "damaged": float64(damaged)}
	out.Figure = "up to " + sizeText(most)
	if refused > 0 {
		out.Figure += ", refused with an error from " + sizeText(refused)
	}
}

func joinSizes(sizes []int) string {
	text := make([]string, len(sizes))
	for i, s := range sizes {
		text[i] = sizeText(s)
	}
	return strings.Join(text, ", ")
}

// sizeText writes a size: whole KiB or MiB so, others in bytes.
func sizeText(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	case n >= 1_000_000 && n%1_000_000 == 0:
		return fmt.Sprintf("%d MB", n/1_000_000)
	case n >= 1000 && n%1000 == 0:
		return fmt.Sprintf("%d kB", n/1000)
	}
	return fmt.Sprintf("%d B", n)
}
