package live

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// listen takes requests on a socket in the shared folder. Who can run a program in the container can write to it.
func (s *Supervisor) listen(ctx context.Context) (<-chan request, error) {
	name := filepath.Join(s.Dir, socket)
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) { // of the container before
		return nil, err
	}
	listener, err := net.Listen("unix", name)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { listener.Close() })
	requests := make(chan request)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(ctx, conn, requests)
		}
	}()
	return requests, nil
}

// serve answers one caller: a line that begins with "ok" or "error".
func serve(ctx context.Context, conn net.Conn, requests chan<- request) {
	defer conn.Close()
	r := request{answer: make(chan error, 1)}
	select {
	case requests <- r:
	case <-ctx.Done():
		return
	}
	begin := time.Now()
	switch err := <-r.answer; {
	case errors.Is(err, errSame):
		fmt.Fprintf(conn, "ok %v\n", err)
	case err != nil:
		fmt.Fprintf(conn, "error %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	default:
		fmt.Fprintf(conn, "ok the new program listens, after %.1f s\n", time.Since(begin).Seconds())
	}
}

// Restart asks the supervisor of this container to run the program that was sent last. It returns what happened once
// the program listens, or why it does not.
func Restart(ctx context.Context, dir string) (string, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, socket))
	if err != nil {
		return "", fmt.Errorf("no supervisor runs in this container: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("the supervisor gave no answer: %w", errors.Join(err, context.Cause(ctx)))
	}
	verdict, text, _ := strings.Cut(strings.TrimSpace(line), " ")
	if verdict != "ok" {
		return "", errors.New(text)
	}
	return text, nil
}
