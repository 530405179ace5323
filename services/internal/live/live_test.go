package live_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/live"
)

// TestMain makes this binary the program that is supervised: a copy of it with a word appended is another program.
func TestMain(m *testing.M) {
	if behaviour := os.Getenv("LIVE_TEST_CHILD"); behaviour != "" {
		os.Exit(serviceMain(behaviour))
	}
	os.Exit(m.Run())
}

// serviceMain listens and answers with the word at the end of its file. The word "broken" makes it end at once,
// "stubborn" makes it ignore SIGTERM.
func serviceMain(address string) int {
	executable, err := os.Executable()
	if err != nil {
		return 1
	}
	content, err := os.ReadFile(executable)
	if err != nil {
		return 1
	}
	word := string(content[bytes.LastIndexByte(content, ' ')+1:])
	if word == "broken" {
		return 3
	}
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return 1
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, word)
			conn.Close()
		}
	}()
	for range terminate {
		if word != "stubborn" {
			return 5
		}
	}
	return 0
}

// program writes the test's program with a word of its own.
func program(t *testing.T, name, word string) {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(executable)
	if err != nil {
		t.Fatal(err)
	}
	next := name + ".next"
	if content = append(content, " "+word...); word == "for another machine" {
		content[0] = 'x'
	}
	if err := os.WriteFile(next, content, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, name); err != nil {
		t.Fatal(err)
	}
}

// ended is how a supervisor's Run ended.
type ended struct {
	Code int
	Err  error
}

// container runs a supervisor over the image's program, whose word is "image".
type container struct {
	dir, address string
	stop         context.CancelFunc
	ended        chan ended
}

func startContainer(t *testing.T, sent string) *container {
	t.Helper()
	if _, err := os.Stat("/proc/self/exe"); err != nil {
		t.Skip("a container's first process finds itself below /proc, which this system has not: run it on Linux")
	}
	// Not 127.0.0.1: who dials a free port from there can be connected to itself.
	listener, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &container{dir: t.TempDir(), address: listener.Addr().String(), ended: make(chan ended, 1)}
	listener.Close()
	t.Setenv("LIVE_TEST_CHILD", c.address)
	image := filepath.Join(t.TempDir(), "order")
	program(t, image, "image")
	if sent != "" {
		program(t, filepath.Join(c.dir, live.Program), sent)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c.stop = cancel
	s := &live.Supervisor{Dir: c.dir, Command: []string{image}, Address: c.address, Grace: 200 * time.Millisecond, Patience: 5 * time.Second,
		Log: slog.New(slog.DiscardHandler)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		code, err := s.Run(ctx)
		c.ended <- ended{code, err}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return c
}

// says asks the running program for its word, until it is the one that is wanted.
func (c *container) says(t *testing.T, want string) {
	t.Helper()
	var got string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if conn, err := net.Dial("tcp", c.address); err == nil {
			_ = conn.SetDeadline(deadline)
			answer, _ := io.ReadAll(conn)
			conn.Close()
			if got = string(answer); got == want {
				return
			}
		}
	}
	t.Fatalf("the program says %q, want %q", got, want)
}

func (c *container) send(t *testing.T, word string) (string, error) {
	t.Helper()
	program(t, filepath.Join(c.dir, live.Program), word)
	return live.Restart(t.Context(), c.dir)
}

func TestAProgramThatWasSentRuns(t *testing.T) {
	c := startContainer(t, "")
	c.says(t, "image")
	for _, word := range []string{"first", "second"} {
		answer, err := c.send(t, word)
		if err != nil || !strings.HasPrefix(answer, "the new program listens") {
			t.Fatalf("restart: %q, %v", answer, err)
		}
		c.says(t, word)
	}
	if answer, err := c.send(t, "second"); err != nil || answer != "this program runs already" {
		t.Errorf("the same program again: %q, %v", answer, err)
	}
}

func TestABrokenProgramIsPutAside(t *testing.T) {
	c := startContainer(t, "")
	c.says(t, "image")
	_, err := c.send(t, "broken")
	want := "the program ended with exit code 3 before it listened on " + c.address + "; its log says why; the image's own program runs again"
	if err == nil || err.Error() != want {
		t.Errorf("restart: %v, want %s", err, want)
	}
	c.says(t, "image")
	if _, err := c.send(t, "mended"); err != nil {
		t.Fatal(err)
	}
	c.says(t, "mended")
}

// A container that is started again finds what was sent to the one before, the program that made it end included.
func TestAContainerThatIsStartedAgain(t *testing.T) {
	startContainer(t, "sent").says(t, "sent")
	startContainer(t, "broken").says(t, "image")
	startContainer(t, "for another machine").says(t, "image")
}

func TestTheContainerEndsAsItsProgram(t *testing.T) {
	c := startContainer(t, "")
	c.says(t, "image")
	c.stop() // SIGTERM
	if got, want := <-c.ended, (ended{Code: 5}); got != want {
		t.Errorf("stopped: %+v, want %+v", got, want)
	}
	c.ended <- ended{}
}

func TestAProgramThatDoesNotEndIsKilled(t *testing.T) {
	c := startContainer(t, "stubborn")
	c.says(t, "stubborn")
	if _, err := c.send(t, "next"); err != nil {
		t.Fatal(err)
	}
	c.says(t, "next")
}

// archive is what Tilt sends: names without the leading slash.
func archive(t *testing.T, entries ...tar.Header) io.Reader {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, header := range entries {
		content := "new " + header.Name
		if header.Typeflag == tar.TypeReg {
			header.Size = int64(len(content))
		}
		if err := w.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeReg {
			fmt.Fprint(w, content)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

func TestReceive(t *testing.T) {
	tilt := []string{"-C", "/", "-x", "-f", "-"}
	for _, c := range []struct {
		name, entry string
		kind        byte
		args        []string
		want        string
	}{
		{name: "a program", entry: "live/program", kind: tar.TypeReg, args: tilt},
		{name: "another place", entry: "etc/passwd", kind: tar.TypeReg, args: tilt, want: "tar: ROOT/etc/passwd does not lie in ROOT/live"},
		{name: "a way out", entry: "live/../etc/passwd", kind: tar.TypeReg, args: tilt, want: "tar: ROOT/etc/passwd does not lie in ROOT/live"},
		{name: "a link", entry: "live/program", kind: tar.TypeSymlink, args: tilt, want: "tar: ROOT/live/program is no regular file"},
		{name: "another call", entry: "live/program", kind: tar.TypeReg, args: []string{"-tvf", "x"}, want: "tar -tvf x: only `tar -C / -x -f -` is understood"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			dir := filepath.Join(root, "live")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			got := ""
			if err := live.Receive(archive(t, tar.Header{Name: c.entry, Typeflag: c.kind, Mode: 0o755, Linkname: "/etc"}), c.args, root, dir); err != nil {
				got = strings.ReplaceAll(err.Error(), root, "ROOT")
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Fatal(diff)
			}
			if c.want != "" {
				return
			}
			info, err := os.Stat(filepath.Join(dir, live.Program))
			if err != nil || info.Mode().Perm() != 0o755 {
				t.Errorf("what was sent: %v, %v", info, err)
			}
		})
	}
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, live.Program)
	program(t, name, "sent")
	if err := live.Remove([]string{"-rf", name}, dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(name); !os.IsNotExist(err) {
		t.Errorf("still there: %v", err)
	}
	if err := live.Remove([]string{"-rf", "/"}, dir); err == nil {
		t.Error("another place is deleted")
	}
}

func TestInstall(t *testing.T) {
	dir := t.TempDir()
	tool := filepath.Join(t.TempDir(), "x")
	program(t, tool, "tool")
	for range 2 { // the folder outlives an init container that is run again
		if err := live.Install(dir, tool); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(tool)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(live.Aliases, live.Tool) {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(want), err)
		}
	}
}

func TestRestartWithoutASupervisor(t *testing.T) {
	if _, err := live.Restart(t.Context(), t.TempDir()); err == nil || !strings.HasPrefix(err.Error(), "no supervisor runs in this container") {
		t.Errorf("got %v", err)
	}
}
