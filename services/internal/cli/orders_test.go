package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dishmesh/dishmesh/services/internal/cli"
	"github.com/dishmesh/dishmesh/services/internal/customer/customertest"
)

// The scripts run the commands that customers and onlookers use against a small gateway, whose address is $GATEWAY.
// "dishmesh CODE ARG..." runs a command in this process and checks its exit code.
func TestOrderCommands(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	testscript.Run(t, testscript.Params{
		Dir: "testdata/orders",
		Setup: func(env *testscript.Env) error {
			env.Setenv("GATEWAY", customertest.New(env.T().(testing.TB)).URL)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"dishmesh": dishmesh,
			"jsonkeys": jsonKeys,
			"mode":     mode,
		},
	})
}

func dishmesh(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: dishmesh CODE ARG...")
	}
	code := cli.Main(args[1:], ts.Stdout(), ts.Stderr())
	if got := strconv.Itoa(code); got != args[0] {
		ts.Fatalf("exit code: got %s, want %s", got, args[0])
	}
}

// jsonKeys FILE KEY... checks which keys the object in a file has, in any order.
func jsonKeys(ts *testscript.TestScript, _ bool, args []string) {
	var object map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &object))
	want := map[string]bool{}
	for _, key := range args[1:] {
		want[key] = true
		if _, ok := object[key]; !ok {
			ts.Fatalf("the key %s is missing", key)
		}
	}
	for key := range object {
		if !want[key] {
			ts.Fatalf("there is a key %s", key)
		}
	}
}

// mode PERM FILE checks a file's permissions.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(filepath.Clean(ts.MkAbs(args[1])))
	ts.Check(err)
	if got := strconv.FormatUint(uint64(info.Mode().Perm()), 8); got != args[0] {
		ts.Fatalf("mode of %s: got %s, want %s", args[1], got, args[0])
	}
}
