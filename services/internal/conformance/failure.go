package conformance

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/topic"
)

// checkRedelivery lets some events fail twice: one by the word RETRY, one by an HTTP error.
func checkRedelivery(ctx context.Context, e *Env) (Outcome, error) {
	out := Outcome{Did: "20 events; the handler answers RETRY twice to one and HTTP 500 twice to another"}
	p := newProbe(e.Run, func(d delivery) answer {
		switch {
		case d.key == "key-05" && d.attempt <= 2:
			return retry
		case d.key == "key-06" && d.attempt <= 2:
			return failure
		}
		return handled
	})
	l, err := e.listen(ctx, pairRedelivery, p)
	if err != nil {
		return out, err
	}
	defer l.close()
	if err := l.sendEach(ctx, keys(20), 1, 4); err != nil {
		return out, err
	}
	sent := l.acknowledged()
	until(ctx, e.Times.Patience/2, func() bool { return p.has(sent) })
	judgeRedelivery(&out, sent, p.deliveries())
	return out, ctx.Err()
}

func judgeRedelivery(out *Outcome, sent []message, seen []delivery) {
	t := compare(sent, seen)
	out.Figures = t.figures()
	var waits []time.Duration
	failedAt := map[message]time.Time{}
	again := map[message]int{}
	for _, d := range seen {
		if at, ok := failedAt[d.message]; ok {
			waits = append(waits, d.at.Sub(at))
			again[d.message]++
		}
		if !d.handled {
			failedAt[d.message] = d.end
		}
	}
	var longest time.Duration
	for _, w := range waits {
		longest = max(longest, w)
	}
	out.Figures["redelivered"], out.Figures["longest_wait_seconds"] = float64(len(waits)), longest.Seconds()
	out.Figure = fmt.Sprintf("%d redeliveries, the longest wait %.1f s", len(waits), longest.Seconds())
	out.Verdict = Kept
	if t.Lost > 0 {
		out.Verdict, out.Reason = NotKept, "after a failure of the handler "+lostReason(t)
	}
}

// failFor is how long an event fails in the check of what waits behind it.
const failFor = 4 * time.Second

// checkBlocking looks at what waits behind an event that fails.
func checkBlocking(ctx context.Context, e *Env) (Outcome, error) {
	const others = 60
	out := Outcome{Did: fmt.Sprintf("one event fails for %s, %d events of 20 other keys are published behind it", failFor, others)}
	begun := time.Now()
	p := newProbe(e.Run, func(d delivery) answer {
		if d.key == "bad" && time.Since(begun) < failFor {
			return retry
		}
		return handled
	})
	l, err := e.listen(ctx, pairBlocking, p)
	if err != nil {
		return out, err
	}
	defer l.close()
	begun = time.Now()
	if err := l.insist(ctx, message{"bad", 1}); err != nil {
		return out, err
	}
	if err := l.sendEach(ctx, keys(20), others/20, 4); err != nil {
		return out, err
	}
	sent := l.acknowledged()
	until(ctx, e.Times.Patience/2, func() bool { return p.has(sent) })
	judgeBlocking(&out, sent, p.deliveries())
	return out, ctx.Err()
}

func judgeBlocking(out *Outcome, sent []message, seen []delivery) {
	t := compare(sent, seen)
	out.Figures = t.figures()
	var mended time.Time
	for _, d := range seen {
		if d.key == "bad" && d.handled {
			mended = d.end
		}
	}
	waited := 0
	first := map[message]bool{}
	for _, d := range seen {
		if d.key == "bad" || first[d.message] {
			continue
		}
		first[d.message] = true
		if !mended.IsZero() && !d.at.Before(mended) {
			waited++
		}
	}
	out.Figures["waited"] = float64(waited)
	out.Figure = fmt.Sprintf("%d of %d waited until it was handled", waited, len(sent)-1)
	switch {
	case t.Lost > 0:
		out.Verdict, out.Reason = NotKept, lostReason(t)
	case waited > 0:
		out.Verdict, out.Reason = NotKept, "what shares its partition or queue waits behind it; the others go on"
		if waited == len(sent)-1 {
			out.Reason = "everything behind it waits"
		}
	default:
		out.Verdict = Kept
	}
}

// poisonSchedule is the retry schedule of the checks: short, so that a check does not take longer than it must.
var poisonSchedule = topic.Schedule{200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond}

// checkPoison has an event fail for ever behind the services' adapter and looks at how long others wait.
func checkPoison(ctx context.Context, e *Env) (Outcome, error) {
	const others = 40
	total := time.Duration(0)
	for _, d := range poisonSchedule {
		total += d
	}
	out := Outcome{Did: fmt.Sprintf("through services/internal/topic: one event fails for ever (retries over %s), %d events behind it", total, others)}
	p := newProbe(e.Run, func(d delivery) answer {
		if d.key == "bad" {
			return retry
		}
		return handled
	})
	box := newLetterBox(p.run)
	l, err := e.listenAdapted(ctx, pairPoison, p, poisonSchedule, box)
	if err != nil {
		return out, err
	}
	defer l.close()
	if err := l.insist(ctx, message{"bad", 1}); err != nil {
		return out, err
	}
	bad := time.Now()
	if err := l.sendEach(ctx, keys(20), others/20, 4); err != nil {
		return out, err
	}
	sent := l.acknowledged()[1:]
	came := until(ctx, e.Times.Patience/2, func() bool { return p.has(sent) })
	took := time.Since(bad)
	attempts := 0
	for _, d := range p.deliveries() {
		if d.key == "bad" {
			attempts++
		}
	}
	judgePoison(&out, compare(sent, p.deliveries()), came, took, total, attempts)
	return out, ctx.Err()
}

// slack is what a busy machine may add to a bounded wait.
const slack = 10 * time.Second

func judgePoison(out *Outcome, t tally, came bool, took, retries time.Duration, attempts int) {
	out.Figures = t.figures()
	out.Figures["attempts"], out.Figures["seconds_until_all"] = float64(attempts), took.Seconds()
	out.Figure = fmt.Sprintf("%d attempts, all others handled after %.1f s", attempts, took.Seconds())
	switch {
	case t.Lost > 0 || !came:
		out.Verdict, out.Reason = NotKept, "behind the poisoned event "+lostReason(t)
	case took > retries+slack:
		out.Verdict, out.Reason = NotKept, fmt.Sprintf("the others waited longer than its retries take (%s)", retries)
	default:
		out.Verdict, out.Reason = KeptOnTop, "our adapter gives it up after its retries"
	}
}

// checkDeadLetter has an event refused and looks for its letter.
func checkDeadLetter(ctx context.Context, e *Env) (Outcome, error) {
	out := Outcome{Did: "through services/internal/topic: an event fails for ever, another is refused at once, a third has 600 KiB and is refused"}
	p := newProbe(e.Run, func(d delivery) answer {
		if d.key == "bad" {
			return retry
		}
		return answer{code: http.StatusUnprocessableEntity}
	})
	box := newLetterBox(p.run)
	l, err := e.listenAdapted(ctx, pairDead, p, poisonSchedule, box)
	if err != nil {
		return out, err
	}
	defer l.close()
	begun := time.Now()
	if err := l.insist(ctx, message{"bad", 1}); err != nil {
		return out, err
	}
	if err := l.insist(ctx, message{"refused", 1}); err != nil {
		return out, err
	}
	l.pad = 600 << 10
	if err := l.insist(ctx, message{"large", 1}); err != nil {
		return out, err
	}
	var letters []topic.DeadLetter
	until(ctx, e.Times.Patience/2, func() bool {
		select {
		case got := <-box.got:
			letters = append(letters, got)
		default:
		}
		return len(letters) >= 3
	})
	judgeLetters(&out, pairDead, letters, time.Since(begun))
	return out, ctx.Err()
}

// judgeLetters looks for the letters of bad, refused and large, whole and with what they must say.
func judgeLetters(out *Outcome, at pair, letters []topic.DeadLetter, took time.Duration) {
	var missing, wrong []string
	for _, want := range []struct {
		key      string
		attempts int
		original int
	}{{"bad", len(poisonSchedule) + 1, 100}, {"refused", 1, 100}, {"large", 1, 600 << 10}} {
		found := false
		for _, l := range letters {
			if !strings.Contains(string(l.Original), `.`+want.key+`"`) {
				continue
			}
			found = true
			if l.Topic != at.topic() || l.App != at.app || l.Cause == "" || l.Attempts != want.attempts || len(l.Original) < want.original {
				wrong = append(wrong, fmt.Sprintf("%s (%d attempts, %d bytes)", want.key, l.Attempts, len(l.Original)))
			}
		}
		if !found {
			missing = append(missing, want.key)
		}
	}
	out.Figures = map[string]float64{"letters": float64(len(letters)), "missing": float64(len(missing)), "seconds": took.Seconds()}
	out.Figure = fmt.Sprintf("%d letters within %.1f s", len(letters), took.Seconds())
	switch {
	case len(missing) > 0:
		out.Verdict, out.Reason = NotKept, "no letter of "+strings.Join(missing, ", ")
	case len(wrong) > 0:
		out.Verdict, out.Reason = NotKept, "a letter is not whole: "+strings.Join(wrong, ", ")
	default:
		out.Verdict, out.Reason = KeptOnTop, "our adapter writes the letter; the broker keeps it"
	}
}
