//go:build !acquirer_no_idempotency

package acquirer_test

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dishmesh/dishmesh/services/city/acquirer"
)

// crashBook names the book for the process that is to be killed.
const crashBook = "ACQUIRER_CRASH_BOOK"

func TestMain(m *testing.M) {
	book := os.Getenv(crashBook)
	if book == "" {
		os.Exit(m.Run())
	}
	a, err := acquirer.Open(acquirer.Config{BookPath: book, APIKey: apiKey})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(httptest.NewServer(a.Handler()).URL)
	select {} // until it is killed
}

// TestEveryAnswerIsInTheBookAfterKill9 kills the process while many merchants are being served.
func TestEveryAnswerIsInTheBookAfterKill9(t *testing.T) {
	book := filepath.Join(t.TempDir(), "acquirer.jsonl")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), crashBook+"="+book)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url := strings.TrimSpace(line)

	var mu sync.Mutex
	answered := map[string]bool{}
	var n counter
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for {
				ref := fmt.Sprintf("ord_%d", n.next())
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/authorizations", strings.NewReader(authorization("card_ok", ref)))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Authorization", "Bearer "+apiKey)
				req.Header.Set("Idempotency-Key", ref)
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					return // killed
				}
				if resp.StatusCode == http.StatusCreated {
					mu.Lock()
					answered[ref] = true
					if len(answered) == 300 {
						if err := cmd.Process.Kill(); err != nil {
							t.Error(err)
						}
					}
					mu.Unlock()
				}
				_ = resp.Body.Close()
			}
		})
	}
	wg.Wait()
	_ = cmd.Wait() // "signal: killed"

	d, stop := open(t, book)
	defer stop()
	for _, op := range d.operations() {
		delete(answered, op.MerchantReference)
	}
	if len(answered) > 0 {
		t.Errorf("%d answered operations are not in the book: %v", len(answered), answered)
	}
}
