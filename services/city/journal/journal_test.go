package journal_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/city/journal"
)

func collect(lines *[]string) func([]byte) error {
	return func(line []byte) error {
		*lines = append(*lines, string(line))
		return nil
	}
}

func TestOpenRepairsATornLastLine(t *testing.T) {
	for _, test := range []struct {
		name, content string
		want          []string
		torn          int64
		fails         string
	}{
		{name: "no file yet"},
		{name: "whole", content: "1\n2\n", want: []string{"1", "2"}},
		{name: "torn", content: "1\n{\"a\":", want: []string{"1"}, torn: 5},
		{name: "torn just before its end", content: "1\n2", want: []string{"1"}, torn: 1},
		{name: "zeros at the end", content: "1\n\x00\x00\x00\n", want: []string{"1"}, torn: 4},
		{name: "nothing but torn", content: "{", torn: 1},
		{name: "damaged in the middle", content: "1\n{\n3\n", fails: "line 2 is damaged"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "sub", "j.jsonl")
			if test.content != "" {
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			j, torn, err := journal.Open(path, journal.Durable, collect(&got))
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) {
					t.Fatalf("got error %v, want one with %q", err, test.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" || torn != test.torn {
				t.Errorf("torn %d, want %d; lines -want +got:\n%s", torn, test.torn, diff)
			}
			if err := errors.Join(j.Write("next"), j.Close()); err != nil {
				t.Fatal(err)
			}
			got = nil
			if err := journal.Read(path, collect(&got)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(append(test.want, `"next"`), got); diff != "" {
				t.Errorf("after an append, -want +got:\n%s", diff)
			}
		})
	}
}

func TestConcurrentWritesAreAllThereAndInOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.jsonl")
	j, _, err := journal.Open(path, journal.Durable, nil)
	if err != nil {
		t.Fatal(err)
	}
	const writers, each = 16, 20
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				if err := j.Write([2]int{w, n}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	next := make([]int, writers)
	err = journal.Read(path, func(line []byte) error {
		var v [2]int
		if err := json.Unmarshal(line, &v); err != nil {
			return err
		}
		if v[1] != next[v[0]] {
			return fmt.Errorf("writer %d: got %d, want %d", v[0], v[1], next[v[0]])
		}
		next[v[0]]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for w, n := range next {
		if n != each {
			t.Errorf("writer %d: %d lines, want %d", w, n, each)
		}
	}
	if err := j.Write(1); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("write after close: got %v, want ErrClosed", err)
	}
}

func TestRing(t *testing.T) {
	r := journal.NewRing[int](3)
	for n := range 5 {
		r.Add(n)
	}
	got, total := r.Latest(2)
	if diff := cmp.Diff([]int{4, 3}, got); diff != "" || total != 5 {
		t.Errorf("total %d, want 5; -want +got:\n%s", total, diff)
	}
}

func BenchmarkDurableWrites(b *testing.B) {
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			j, _, err := journal.Open(filepath.Join(b.TempDir(), "j.jsonl"), journal.Durable, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.SetParallelism(writers)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := j.Write("a line of the book"); err != nil {
						b.Error(err)
					}
				}
			})
			if err := j.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
