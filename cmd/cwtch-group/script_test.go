package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"cwtch-group": main})
}

// TestScripts runs people at their command lines against a relay on the loopback
// network. Beside cwtch-group, scripts have
//
//	server NAME    start a relay with the keys of that name, which are made at
//	               the first use, and write its bundle to NAME.bundle
//	shutdown NAME  stop it; what it stored is gone
//	fromfile V F   set the variable V to what is in the file F
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("CWTCH_GROUP_NETWORK", "loopback:"+filepath.Join(e.WorkDir, "net"))
			e.Setenv("TZ", "UTC")
			e.Values[serversKey{}] = make(servers)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"server":   startServer,
			"shutdown": shutDown,
			"fromfile": fromFile,
		},
	})
}

// servers are the relays of a script and how to stop them.
type servers map[string]func()

type serversKey struct{}

func startServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: server NAME")
	}
	name := args[0]
	keys, err := identity.LoadOrCreate(ts.MkAbs(name + ".keys"))
	ts.Check(err)
	network, err := onion.Loopback(ts.MkAbs("net"))
	ts.Check(err)
	s, err := relay.Start(context.Background(), relay.Config{
		Network: network, Keys: keys, Store: storagetest.NewMemory(),
		Limits: relay.Limits{
			Connections: 100, ConnectionsPerSecond: 1000,
			HandshakeTimeout: time.Minute, IdleTimeout: time.Hour,
			OutstandingPosts: 8, QueueRecords: 1000, QueueBytes: 1 << 20, PostTimeout: time.Minute,
			TokenBatchesPerSecond: 100, TokenBatch: 150,
			ReaderBuffer: 64 << 10, StuckReader: time.Minute,
		},
	})
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(name+".bundle"), []byte(s.Bundle().String()+"\n"), 0o600))
	running := ts.Value(serversKey{}).(servers)
	running[name] = func() {
		delete(running, name)
		ts.Check(s.Close(context.Background()))
		ts.Check(network.Close())
	}
	ts.Defer(func() {
		if stop, ok := running[name]; ok {
			stop()
		}
	})
}

func shutDown(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: shutdown NAME")
	}
	ts.Value(serversKey{}).(servers)[args[0]]()
}

func fromFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fromfile VARIABLE FILE")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}
