package conformance

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// restartCheck kills one half of a consumer under load and has it back after two seconds.
func restartCheck(at pair, what string, kill func(Node) error, start func(context.Context, Node) error) func(context.Context, *Env) (Outcome, error) {
	return func(ctx context.Context, e *Env) (Outcome, error) {
		per := e.Times.n(40)
		out := Outcome{Did: fmt.Sprintf("%d events at about 100 per s, every fifth takes 150 ms to handle; %s while it is being handled, started again 2 s later", 10*per, what)}
		p := newProbe(e.Run, unevenly)
		l, err := e.listen(ctx, at, p)
		if err != nil {
			return out, err
		}
		defer l.close()
		var sending sync.WaitGroup
		var sendErr error
		sending.Go(func() { sendErr = l.paced(ctx, keys(10), per, 100*time.Millisecond) })
		defer sending.Wait()
		if !until(ctx, e.Times.Patience, func() bool { return p.handledCount() >= 10*per/3 && p.busy() }) {
			return out, fmt.Errorf("only %d events had come before the kill", p.handledCount())
		}
		before := len(p.deliveries())
		if err := kill(l.nodes[0]); err != nil {
			return out, err
		}
		if err := pause(ctx, 2*time.Second); err != nil {
			return out, err
		}
		if err := start(ctx, l.nodes[0]); err != nil {
			return out, err
		}
		back := time.Now()
		var resumed time.Duration
		if until(ctx, e.Times.Patience, func() bool { return len(p.deliveries()) > before }) {
			resumed = time.Since(back)
		}
		sending.Wait()
		if sendErr != nil {
			return out, sendErr
		}
		sent := l.acknowledged()
		until(ctx, e.Times.Patience, func() bool { return p.has(sent) })
		judgeRestart(&out, compare(sent, p.deliveries()), resumed)
		return out, ctx.Err()
	}
}

// unevenly takes its time for some events, so that a kill meets one in the middle.
func unevenly(d delivery) answer {
	if d.n%5 == 0 {
		return answer{delay: 150 * time.Millisecond}
	}
	return answer{delay: 5 * time.Millisecond}
}

// paced publishes per events of each key at a pace and insists on every one.
func (l *ledger) paced(ctx context.Context, keys []string, per int, every time.Duration) error {
	stop := make(chan struct{})
	end := time.AfterFunc(time.Duration(per)*every, func() { close(stop) })
	defer end.Stop()
	return l.stream(ctx, keys, every, stop)
}

func judgeRestart(out *Outcome, t tally, resumed time.Duration) {
	out.Figures = t.figures()
	out.Figures["resumed_seconds"] = resumed.Seconds()
	out.Figure = fmt.Sprintf("%d acknowledged, %d lost, %d handled twice; went on %.1f s after the start", t.Acked, t.Lost, t.Repeated, resumed.Seconds())
	out.Verdict = Kept
	if t.Lost > 0 {
		out.Verdict, out.Reason = NotKept, lostReason(t)
	}
}

func checkSidecarKilled() func(context.Context, *Env) (Outcome, error) {
	return restartCheck(pairSidecarKill, "the consumer's sidecar is killed (-9)", Node.KillSidecar,
		func(ctx context.Context, n Node) error { return n.StartSidecar(ctx) })
}

func checkAppKilled() func(context.Context, *Env) (Outcome, error) {
	return restartCheck(pairAppKill, "the consumer's app is cut off", Node.KillApp,
		func(ctx context.Context, n Node) error { return n.StartApp(ctx) })
}

// checkReplicas has two replicas share the work.
func checkReplicas(ctx context.Context, e *Env) (Outcome, error) {
	per := e.Times.n(12)
	out := Outcome{Did: fmt.Sprintf("%d events of 60 keys for an app with two replicas", 60*per)}
	p := newProbe(e.Run, func(delivery) answer { return answer{delay: 2 * time.Millisecond} })
	l, err := e.listenAll(ctx, pairReplicas, p, 2)
	if err != nil {
		return out, err
	}
	defer l.close()
	if err := l.sendEach(ctx, keys(60), per, 4); err != nil {
		return out, err
	}
	sent := l.acknowledged()
	until(ctx, e.Times.Patience, func() bool { return p.has(sent) })
	judgeReplicas(&out, sent, p.deliveries())
	return out, ctx.Err()
}

// fairShare is the least part of the work that each of two replicas must get.
const fairShare = 0.1

func judgeReplicas(out *Outcome, sent []message, seen []delivery) {
	t := compare(sent, seen)
	out.Figures = t.figures()
	first := 0
	for _, d := range seen {
		if d.who == replica(0) {
			first++
		}
	}
	share := 0.0
	if len(seen) > 0 {
		share = float64(first) / float64(len(seen))
	}
	out.Figures["share_of_first"] = share
	out.Figure = fmt.Sprintf("%.0f %% : %.0f %% of %d events, %d lost, %d handled twice, %d out of order", 100*share, 100*(1-share), t.Acked, t.Lost,
		t.Repeated, t.Reordered+t.SideBySide)
	switch {
	case t.Lost > 0:
		out.Verdict, out.Reason = NotKept, lostReason(t)
	case share < fairShare || share > 1-fairShare:
		out.Verdict, out.Reason = NotKept, "one replica got nearly everything"
	case t.Repeated > len(sent)/4:
		out.Verdict, out.Reason = NotKept, fmt.Sprintf("both handled the same events, %d of them", t.Repeated)
	default:
		out.Verdict = Kept
	}
}

// checkReplicaKilled kills one of two replicas for good.
func checkReplicaKilled(ctx context.Context, e *Env) (Outcome, error) {
	per := e.Times.n(40)
	out := Outcome{Did: fmt.Sprintf("%d events at about 100 per s for two replicas; one, app and sidecar, is killed while it handles one and does not come back", 10*per)}
	p := newProbe(e.Run, unevenly)
	l, err := e.listenAll(ctx, pairReplicaKill, p, 2)
	if err != nil {
		return out, err
	}
	defer l.close()
	var sending sync.WaitGroup
	var sendErr error
	sending.Go(func() { sendErr = l.paced(ctx, keys(10), per, 100*time.Millisecond) })
	defer sending.Wait()
	if !until(ctx, e.Times.Patience, func() bool { return p.handledCount() >= 10*per/3 && p.busy() }) {
		return out, fmt.Errorf("only %d events had come before the kill", p.handledCount())
	}
	if err := l.nodes[0].KillApp(); err != nil {
		return out, err
	}
	if err := l.nodes[0].KillSidecar(); err != nil {
		return out, err
	}
	killed := time.Now()
	sending.Wait()
	if sendErr != nil {
		return out, sendErr
	}
	sent := l.acknowledged()
	until(ctx, e.Times.Patience, func() bool { return p.has(sent) })
	t := compare(sent, p.deliveries())
	var gap time.Duration
	last := killed
	for _, d := range p.deliveries() {
		if d.at.After(killed) {
			gap = max(gap, d.at.Sub(last))
			last = d.at
		}
	}
	judgeRestart(&out, t, gap)
	out.Figures["longest_gap_seconds"] = gap.Seconds()
	delete(out.Figures, "resumed_seconds")
	out.Figure = fmt.Sprintf("%d acknowledged, %d lost, %d handled twice; all taken over %.1f s after the kill", t.Acked, t.Lost, t.Repeated, last.Sub(killed).Seconds())
	return out, ctx.Err()
}
