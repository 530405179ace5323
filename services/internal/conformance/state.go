package conformance

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// keeper is the app whose store the checks of state use.
const keeper = "menu"

// StoreComponent is the component behind that store.
const StoreComponent = keeper + "-store"

// finding collects what is wrong; the first few are told.
type finding struct {
	wrong []string
	n     int
}

func (f *finding) add(format string, args ...any) {
	f.n++
	if len(f.wrong) < few {
		f.wrong = append(f.wrong, fmt.Sprintf(format, args...))
	}
}

// judge gives the verdict: kept where nothing is wrong.
func (f *finding) judge(out *Outcome, figure string, args ...any) {
	out.Figure = fmt.Sprintf(figure, args...)
	if out.Figures == nil {
		out.Figures = map[string]float64{}
	}
	out.Figures["wrong"] = float64(f.n)
	out.Verdict = Kept
	if f.n > 0 {
		out.Verdict, out.Reason = NotKept, strings.Join(f.wrong, "; ")
		if f.n > len(f.wrong) {
			out.Reason += fmt.Sprintf("; and %d more", f.n-len(f.wrong))
		}
	}
}

// stores gives the store by way of n sidecars of replicas.
func (e *Env) stores(ctx context.Context, n int) ([]sidecar.Store, error) {
	var out []sidecar.Store
	for i := range n {
		node, err := e.Bench.Shared(ctx, keeper, i)
		if err != nil {
			return nil, err
		}
		out = append(out, node.State())
	}
	return out, nil
}

// key names a key of the check's own.
func (e *Env) key(name string, args ...any) string {
	return "conformance/" + e.Run + "/" + fmt.Sprintf(name, args...)
}

func put(key, value string) sidecar.Op { return sidecar.Op{Key: key, Value: []byte(value)} }

func create(key, value string) sidecar.Op {
	return sidecar.Op{Key: key, Value: []byte(value), Create: true}
}

func putIf(key, value, etag string) sidecar.Op {
	return sidecar.Op{Key: key, Value: []byte(value), ETag: etag}
}

// values reads keys one by one; a missing one is "".
func values(ctx context.Context, s sidecar.Store, keys ...string) ([]string, error) {
	out := make([]string, len(keys))
	for i, k := range keys {
		item, err := s.Get(ctx, k)
		if err != nil {
			return nil, err
		}
		out[i] = string(item.Value)
	}
	return out, nil
}

// checkTransaction writes several keys at once, with and without a condition that does not hold.
func checkTransaction(ctx context.Context, e *Env) (Outcome, error) {
	rounds := e.Times.n(20)
	out := Outcome{Did: fmt.Sprintf("%s of 4 keys that must be written, and %d in which the condition on the last key does not hold",
		count(rounds, "transaction"), 2*rounds)}
	ss, err := e.stores(ctx, 1)
	if err != nil {
		return out, err
	}
	s := ss[0]
	var f finding
	for i := range rounds {
		a, b, c, d := e.key("%d/a", i), e.key("%d/b", i), e.key("%d/c", i), e.key("%d/d", i)
		if err := s.Transact(ctx, put(a, "1"), create(b, "1"), put(c, "1"), create(d, "1")); err != nil {
			return out, err
		}
		got, err := values(ctx, s, a, b, c, d)
		if err != nil {
			return out, err
		}
		if strings.Join(got, "") != "1111" {
			f.add("after a transaction the keys hold %q", got)
		}
		stale, err := s.Get(ctx, d)
		if err != nil {
			return out, err
		}
		if err := s.Transact(ctx, putIf(d, "2", stale.ETag)); err != nil {
			return out, err
		}
		for _, bad := range []sidecar.Op{putIf(d, "3", stale.ETag), create(d, "3")} {
			err := s.Transact(ctx, put(a, "3"), sidecar.Op{Key: b, Delete: true}, create(c+"/new", "3"), bad)
			if !errors.Is(err, sidecar.ErrConflict) {
				f.add("a transaction with a condition that does not hold gave %v", err)
			}
			got, err := values(ctx, s, a, b, c, d, c+"/new")
			if err != nil {
				return out, err
			}
			if strings.Join(got, "") != "1112" {
				f.add("a refused transaction left %q", got)
			}
		}
	}
	f.judge(&out, "%d refused ones left a trace", f.n)
	return out, nil
}

// checkETag writes with ETags that are right and wrong.
func checkETag(ctx context.Context, e *Env) (Outcome, error) {
	rounds := e.Times.n(20)
	out := Outcome{Did: fmt.Sprintf("%d keys, each written with its ETag, with a stale one, and deleted with a stale one", rounds)}
	ss, err := e.stores(ctx, 2)
	if err != nil {
		return out, err
	}
	var f finding
	for i := range rounds {
		s, other := ss[i%2], ss[(i+1)%2]
		k := e.key("%d", i)
		if err := s.Transact(ctx, put(k, "1")); err != nil {
			return out, err
		}
		old, err := s.Get(ctx, k)
		if err != nil {
			return out, err
		}
		if err := other.Transact(ctx, putIf(k, "2", old.ETag)); err != nil {
			f.add("a write with the right ETag gave %v", err)
		}
		if err := s.Transact(ctx, putIf(k, "3", old.ETag)); !errors.Is(err, sidecar.ErrConflict) {
			f.add("a write with a stale ETag gave %v", err)
		}
		if err := s.Transact(ctx, sidecar.Op{Key: k, ETag: old.ETag, Delete: true}); !errors.Is(err, sidecar.ErrConflict) {
			f.add("a deletion with a stale ETag gave %v", err)
		}
		got, err := values(ctx, s, k)
		if err != nil {
			return out, err
		}
		if got[0] != "2" {
			f.add("the key holds %q instead of what was written with the right ETag", got[0])
		}
	}
	f.judge(&out, "%d of %d stale writes got through", f.n, 2*rounds)
	return out, nil
}

// checkCreate has several create the same key.
func checkCreate(ctx context.Context, e *Env) (Outcome, error) {
	rounds, rivals := e.Times.n(30), 6
	out := Outcome{Did: fmt.Sprintf("%d keys, each created by %d at once through two sidecars", rounds, rivals)}
	ss, err := e.stores(ctx, 2)
	if err != nil {
		return out, err
	}
	var f finding
	for i := range rounds {
		k := e.key("%d", i)
		results := make([]error, rivals)
		var wg sync.WaitGroup
		for r := range rivals {
			wg.Go(func() { results[r] = ss[r%2].Transact(ctx, create(k, strconv.Itoa(r))) })
		}
		wg.Wait()
		winner, winners := "", 0
		for r, err := range results {
			switch {
			case err == nil:
				winners++
				winner = strconv.Itoa(r)
			case !errors.Is(err, sidecar.ErrConflict):
				return out, err
			}
		}
		got, err := values(ctx, ss[0], k)
		if err != nil {
			return out, err
		}
		if winners != 1 || got[0] != winner {
			f.add("%s created one key, which now holds %q", count(winners, "writer"), got[0])
		}
	}
	f.judge(&out, "%d of %d keys had exactly one creator", rounds-f.n, rounds)
	return out, nil
}

// checkLostUpdate has writers count up together.
func checkLostUpdate(ctx context.Context, e *Env) (Outcome, error) {
	each, writers := e.Times.n(60), 2
	out := Outcome{Did: fmt.Sprintf("%d writers on two sidecars each add 1 to one number %d times, with its ETag", writers, each)}
	ss, err := e.stores(ctx, 2)
	if err != nil {
		return out, err
	}
	k := e.key("counter")
	if err := ss[0].Transact(ctx, put(k, "0")); err != nil {
		return out, err
	}
	var mu sync.Mutex
	conflicts := 0
	failed := make([]error, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for done := 0; done < each; {
				item, err := ss[w].Get(ctx, k)
				if err == nil {
					n, _ := strconv.Atoi(string(item.Value))
					err = ss[w].Transact(ctx, putIf(k, strconv.Itoa(n+1), item.ETag))
				}
				switch {
				case err == nil:
					done++
				case errors.Is(err, sidecar.ErrConflict):
					mu.Lock()
					conflicts++
					mu.Unlock()
				default:
					failed[w] = err
					return
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(failed...); err != nil {
		return out, err
	}
	got, err := values(ctx, ss[0], k)
	if err != nil {
		return out, err
	}
	var f finding
	want := strconv.Itoa(each * writers)
	if got[0] != want {
		f.add("the number is %s, not %s", got[0], want)
	}
	out.Figures = map[string]float64{"updates": float64(each * writers), "conflicts": float64(conflicts)}
	f.judge(&out, "%s of %s updates kept, %d conflicts", got[0], want, conflicts)
	return out, nil
}

// checkTTL writes keys that are to be forgotten.
func checkTTL(ctx context.Context, e *Env) (Outcome, error) {
	const life = 2 * time.Second
	out := Outcome{Did: fmt.Sprintf("10 keys with a life of %s beside 10 without, one of them written with and then without", life)}
	ss, err := e.stores(ctx, 1)
	if err != nil {
		return out, err
	}
	s := ss[0]
	var short, long []string
	var ops []sidecar.Op
	for i := range 10 {
		short, long = append(short, e.key("short/%d", i)), append(long, e.key("long/%d", i))
		ops = append(ops, sidecar.Op{Key: short[i], Value: []byte("1"), TTL: life}, put(long[i], "1"))
	}
	again := e.key("again")
	if err := s.Transact(ctx, sidecar.Op{Key: again, Value: []byte("1"), TTL: life}); err != nil {
		return out, err
	}
	if err := s.Transact(ctx, append(ops, put(again, "1"))...); err != nil {
		return out, err
	}
	long = append(long, again)
	begun := time.Now()
	var f finding
	got, err := values(ctx, s, short...)
	if err != nil {
		return out, err
	}
	// A store that counts whole seconds may be early by one.
	if time.Since(begun) < life/2 && strings.Join(got, "") != "1111111111" {
		f.add("keys were forgotten at once")
	}
	var readErr error
	gone := until(ctx, 10*life, func() bool {
		got, readErr = values(ctx, s, short...)
		return readErr != nil || strings.Join(got, "") == ""
	})
	if readErr != nil {
		return out, readErr
	}
	after := time.Since(begun)
	if !gone {
		f.add("keys are still there %s after they were written", after.Round(time.Second))
	}
	if got, err = values(ctx, s, long...); err != nil {
		return out, err
	}
	if strings.Join(got, "") != strings.Repeat("1", len(long)) {
		f.add("keys without a life were forgotten, too")
	}
	out.Figures = map[string]float64{"gone_after_seconds": after.Seconds()}
	f.judge(&out, "gone after %.1f s", after.Seconds())
	return out, ctx.Err()
}

// largestValue is the size of a value that must be taken: what the sidecar of a service takes in one request is 1 MiB.
const largestValue = 900_000

// checkBigValues writes and reads ever larger values.
func checkBigValues(ctx context.Context, e *Env) (Outcome, error) {
	sizes := []int{64 << 10, 512 << 10, largestValue, 2 << 20}
	out := Outcome{Did: "one value each of " + joinSizes(sizes)}
	ss, err := e.stores(ctx, 1)
	if err != nil {
		return out, err
	}
	var f finding
	most, refused := 0, 0
	for _, size := range sizes {
		k := e.key("%d", size)
		value := []byte(`"` + strings.Repeat("0123456789abcdef", size/16+1)[:size-2] + `"`)
		if err := ss[0].Transact(ctx, sidecar.Op{Key: k, Value: value}); err != nil {
			if size <= largestValue {
				f.add("a value of %s was refused: %v", sizeText(size), err)
			}
			if refused == 0 {
				refused = size
			}
			continue
		}
		item, err := ss[0].Get(ctx, k)
		if err != nil {
			return out, err
		}
		if crc32.ChecksumIEEE(item.Value) != crc32.ChecksumIEEE(value) {
			f.add("a value of %s came back with %d bytes, changed", sizeText(size), len(item.Value))
		}
		most = size
	}
	out.Figures = map[string]float64{"largest_bytes": float64(most), "refused_bytes": float64(refused)}
	f.judge(&out, "up to %s", sizeText(most))
	return out, nil
}

// checkReadYourWrites reads at once what was written, by the same sidecar and by that of another replica.
func checkReadYourWrites(ctx context.Context, e *Env) (Outcome, error) {
	rounds := e.Times.n(200)
	out := Outcome{Did: fmt.Sprintf("%d writes, each read at once by the same sidecar and by another replica's", rounds)}
	ss, err := e.stores(ctx, 2)
	if err != nil {
		return out, err
	}
	var f finding
	k := e.key("one")
	begun := time.Now()
	for i := range rounds {
		want := strconv.Itoa(i)
		if err := ss[0].Transact(ctx, put(k, want)); err != nil {
			return out, err
		}
		for j, s := range ss {
			got, err := values(ctx, s, k)
			if err != nil {
				return out, err
			}
			if got[0] != want {
				f.add("replica %d read %q after %q was written", j, got[0], want)
			}
		}
	}
	rate := float64(rounds) / time.Since(begun).Seconds()
	out.Figures = map[string]float64{"rounds_per_second": rate}
	f.judge(&out, "%d of %d reads were stale", f.n, 2*rounds)
	return out, nil
}
