// Package sagatest runs the real workflow engine in the test process: Dapr's durable task backend on SQLite, behind
// gRPC on loopback, as a sidecar has it.
package sagatest

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"

	"github.com/dapr/durabletask-go/backend"
	"github.com/dapr/durabletask-go/backend/sqlite"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Engine starts an engine with a fresh store and gives a connection to it.
func Engine(t testing.TB) *grpc.ClientConn {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	log := silent{}
	be := sqlite.NewSqliteBackend(sqlite.NewSqliteOptions(filepath.Join(t.TempDir(), "tasks.db")), log)
	server := grpc.NewServer()
	executor, register := backend.NewGrpcExecutor(be, log)
	register(server)
	worker := backend.NewTaskHubWorker(be,
		backend.NewWorkflowWorker(backend.WorkflowWorkerOptions{Backend: be, Executor: executor, Logger: log, AppID: "test"}),
		backend.NewActivityTaskWorker(be, executor, log), log)
	if err := worker.Start(ctx); err != nil {
		t.Fatalf("workflow engine: %v", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if err := server.Serve(listener); err != nil {
			slog.Debug("workflow engine", "error", err)
		}
	}()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		cancel()
		server.Stop()
	})
	return conn
}

type silent struct{}

func (silent) Debug(...any)          {}
func (silent) Debugf(string, ...any) {}
func (silent) Info(...any)           {}
func (silent) Infof(string, ...any)  {}
func (silent) Warn(...any)           {}
func (silent) Warnf(string, ...any)  {}
func (silent) Error(...any)          {}
func (silent) Errorf(string, ...any) {}
