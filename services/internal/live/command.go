package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// grace is shorter than a service's own 4 s for open requests: a developer waits, and the platform lives with a kill.
	grace = 2 * time.Second
	// patience is well above what a service needs to listen, which comes before it waits for its sidecar.
	patience = 10 * time.Second
)

// Main is the command live. It takes what it does from its arguments, or from the name that it is called by.
//
//	live install DIR          puts itself into a folder of the pod, under the names that Tilt calls
//	live run PROGRAM [ARG]    runs the service, and what was sent to the folder that the tool lies in
//	live restart              runs the program that was sent last
//	tar, rm                   what Tilt calls to send and to delete files
func Main() {
	code, err := command(os.Args)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		// Tilt takes tar's 2 for a place that can't be written to, and explains that.
		if code = 1; errors.Is(err, os.ErrPermission) {
			code = 2
		}
	}
	os.Exit(code)
}

func command(args []string) (int, error) {
	executable, err := os.Executable()
	if err != nil {
		return 0, err
	}
	dir := filepath.Dir(executable)
	switch filepath.Base(args[0]) {
	case "tar":
		return 0, Receive(os.Stdin, args[1:], "/", dir)
	case "rm":
		return 0, Remove(args[1:], dir)
	}
	switch {
	case len(args) == 3 && args[1] == "install":
		return 0, Install(args[2], executable)
	case len(args) > 2 && args[1] == "run":
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		s := &Supervisor{Dir: dir, Command: args[2:], Grace: grace, Patience: patience,
			Log: slog.New(slog.NewJSONHandler(os.Stderr, nil)).With("service", "live")}
		if port := os.Getenv("APP_PORT"); port != "" {
			s.Address = net.JoinHostPort("127.0.0.1", port)
		}
		return s.Run(ctx)
	case len(args) == 2 && args[1] == "restart":
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		answer, err := Restart(ctx, dir)
		if err == nil {
			fmt.Println(answer)
		}
		return 0, err
	}
	return 0, errors.New("usage: live install DIR | live run PROGRAM [ARG...] | live restart")
}
