package conformance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// outageCheck kills the broker under load and has it back after a while.
func outageCheck(at pair, length func(Times) time.Duration) func(context.Context, *Env) (Outcome, error) {
	return func(ctx context.Context, e *Env) (Outcome, error) {
		away := length(e.Times)
		out := Outcome{Did: fmt.Sprintf("about 100 events per s of 8 keys, each insisted on; the broker is killed (-9) for %s", away)}
		broker, err := e.Bench.Broker()
		if errors.Is(err, ErrNoServer) {
			return notApplicable(out, "events do not pass through a server of their own")
		}
		if err != nil {
			return out, err
		}
		p := newProbe(e.Run, nil)
		l, err := e.listen(ctx, at, p)
		if err != nil {
			return out, err
		}
		defer l.close()
		stop := make(chan struct{})
		var sending sync.WaitGroup
		var sendErr error
		sending.Go(func() { sendErr = l.stream(ctx, keys(8), 80*time.Millisecond, stop) })
		var once sync.Once
		end := func() { once.Do(func() { close(stop) }); sending.Wait() }
		defer end()
		if err := pause(ctx, 2*time.Second); err != nil {
			return out, err
		}
		if err := broker.Kill(); err != nil {
			return out, err
		}
		if err := e.countdown(ctx, away); err != nil {
			return out, err
		}
		starting := time.Now()
		if err := broker.Start(ctx); err != nil {
			return out, err
		}
		back := time.Now()
		// A request that was begun during the outage may hang; a fresh one tells whether the broker can be reached.
		seen := len(p.deliveries())
		fresh := 0
		until(ctx, e.Times.Patience, func() bool {
			fresh++
			once, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			return l.publish(once, message{"fresh", fresh}) == nil
		})
		published := time.Since(back)
		until(ctx, e.Times.Patience, func() bool { return len(p.deliveries()) > seen })
		delivered := time.Since(back)
		if err := pause(ctx, 2*time.Second); err != nil {
			return out, err
		}
		end()
		if sendErr != nil {
			return out, sendErr
		}
		sent := l.acknowledged()
		until(ctx, e.Times.Patience, func() bool { return p.has(sent) })
		judgeOutage(&out, compare(sent, p.deliveries()), published, delivered, back.Sub(starting), l.refusals())
		return out, ctx.Err()
	}
}

// countdown waits and says so.
func (e *Env) countdown(ctx context.Context, d time.Duration) error {
	for left := d; left > 0; left -= 5 * time.Second {
		e.Say(fmt.Sprintf("the server is away for another %s", left))
		if err := pause(ctx, min(left, 5*time.Second)); err != nil {
			return err
		}
	}
	return nil
}

func judgeOutage(out *Outcome, t tally, published, delivered, start time.Duration, refused int) {
	out.Figures = t.figures()
	out.Figures["refused"] = float64(refused)
	out.Figures["server_start_seconds"] = start.Seconds()
	out.Figures["publish_back_seconds"], out.Figures["delivery_back_seconds"] = published.Seconds(), delivered.Seconds()
	out.Figure = fmt.Sprintf("%d acknowledged, %d lost, %d handled twice, %d out of order; the server took %.1f s to start, then publishing was back after %.1f s, delivery after %.1f s",
		t.Acked, t.Lost, t.Repeated, t.Reordered, start.Seconds(), published.Seconds(), delivered.Seconds())
	out.Verdict = Kept
	if t.Lost > 0 {
		out.Verdict, out.Reason = NotKept, lostReason(t)
	}
}

func notApplicable(out Outcome, why string) (Outcome, error) {
	out.Verdict, out.Reason, out.Figure = NotApplicable, why, "–"
	return out, nil
}

// checkBrokerCrash kills the broker at full load while nobody consumes, so that what was acknowledged is nowhere else.
func checkBrokerCrash(ctx context.Context, e *Env) (Outcome, error) {
	rounds := e.Times.n(3)
	out := Outcome{Did: fmt.Sprintf("8 publishers as fast as they can, nobody consumes; the broker is killed (-9) under that load and started at once, %s", times(rounds))}
	broker, err := e.Bench.Broker()
	if errors.Is(err, ErrNoServer) {
		return notApplicable(out, "events do not pass through a server of their own")
	}
	if err != nil {
		return out, err
	}
	p := newProbe(e.Run, nil)
	l, err := e.listen(ctx, pairCrash, p)
	if err != nil {
		return out, err
	}
	l.close() // its queue or group is there now
	perRound := 0
	for round := range rounds {
		stop := make(chan struct{})
		var sending sync.WaitGroup
		begin := l.ackedCount()
		for _, key := range keys(8) {
			sending.Go(func() {
				for n := 1; ; n++ {
					select {
					case <-stop:
						return
					case <-ctx.Done():
						return
					default:
					}
					once, cancel := context.WithTimeout(ctx, 5*time.Second)
					err := l.publish(once, message{fmt.Sprintf("%s-round-%d", key, round+1), n})
					cancel()
					if err != nil && pause(ctx, 100*time.Millisecond) != nil {
						return
					}
				}
			})
		}
		halt := func() { close(stop); sending.Wait() }
		want := begin + e.Times.n(1500)
		if !until(ctx, e.Times.Patience, func() bool { return l.ackedCount() >= want }) {
			halt()
			return out, fmt.Errorf("only %d events were acknowledged in round %d", l.ackedCount()-begin, round+1)
		}
		if err := broker.Kill(); err != nil {
			halt()
			return out, err
		}
		perRound += l.ackedCount() - begin
		halt()
		if err := broker.Start(ctx); err != nil {
			return out, err
		}
	}
	n, err := e.Bench.Node(ctx, NodeSpec{App: pairCrash.app, Topics: []string{pairCrash.topic()}, Handler: onTopic(pairCrash.topic(), p.as(replica(0)))})
	if err != nil {
		return out, err
	}
	defer n.Close()
	sent := l.acknowledged()
	until(ctx, e.Times.Patience, func() bool { return p.has(sent) })
	t := compare(sent, p.deliveries())
	out.Figures = t.figures()
	out.Figure = fmt.Sprintf("%d acknowledged, %d lost, %d handled twice", t.Acked, t.Lost, t.Repeated)
	out.Verdict = Kept
	if t.Lost > 0 {
		out.Verdict, out.Reason = NotKept, lostReason(t)
	}
	return out, ctx.Err()
}

// times says how often.
func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
