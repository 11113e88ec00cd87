package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/onion/tornet"
	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	if os.Getenv(hostVariable) != "" {
		serveTestHost()
		return
	}
	testscript.Main(m, map[string]func(){"cwtch-group": main})
}

// TestScripts runs the command lines of several people against a relay on the loopback
// network. Beside cwtch-group, scripts have
//
//	server NAME    start a relay with the keys of that name, which are made at
//	               the first use, and write its bundle to NAME.bundle
//	shutdown NAME  stop it; what it stored is gone
//	fromfile V F   set the variable V to what is in the file F
//	field V F L W  set V to word W of line L of the file F, counted from 1
func TestScripts(t *testing.T) {
	runScripts(t, "testdata/script", func(e *testscript.Env) (connectFunc, error) {
		registry := filepath.Join(e.WorkDir, "net")
		e.Setenv("CWTCH_GROUP_NETWORK", "loopback:"+registry)
		return func() (onion.Network, error) { return onion.Loopback(registry) }, nil
	})
}

// TestScriptsOverTor runs scripts over a private Tor network, in which the relay and
// each command have a tor of their own.
func TestScriptsOverTor(t *testing.T) {
	tor := tornet.ForTest(t)
	t.Run("people", func(t *testing.T) { // ends before the network does
		runScripts(t, "testdata/tor", func(e *testscript.Env) (connectFunc, error) {
			torrc := filepath.Join(e.WorkDir, "torrc")
			e.Setenv("CWTCH_GROUP_TORRC", torrc)
			connect := func() (onion.Network, error) {
				return onion.StartTor(context.Background(), onion.TorConfig{
					DataDir: filepath.Join(e.WorkDir, "tor"), Torrc: tor.ClientTorrc(),
				})
			}
			return connect, os.WriteFile(torrc, []byte(strings.Join(tor.ClientTorrc(), "\n")), 0o600)
		})
	})
}

// connectFunc connects a relay to the network of a script.
type connectFunc func() (onion.Network, error)

func runScripts(t *testing.T, dir string, setup func(*testscript.Env) (connectFunc, error)) {
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("TZ", "UTC")
			connect, err := setup(e)
			e.Values[scriptNetworkKey{}] = &scriptNetwork{connect, make(map[string]func())}
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"server":   startServer,
			"shutdown": stopServer,
			"fromfile": setFromFile,
			"field":    setWord,
		},
	})
}

// scriptNetwork is the network of a script with its servers.
type scriptNetwork struct {
	connect connectFunc
	servers map[string]func() // how to stop each
}

type scriptNetworkKey struct{}

func startServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: server NAME")
	}
	name := args[0]
	keys, err := identity.LoadOrCreate(ts.MkAbs(name + ".keys"))
	ts.Check(err)
	script := ts.Value(scriptNetworkKey{}).(*scriptNetwork)
	network, err := script.connect()
	ts.Check(err)
	s, err := startRelay(network, keys)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(name+".bundle"), []byte(s.Bundle().String()+"\n"), 0o600))
	script.servers[name] = func() {
		delete(script.servers, name)
		ts.Check(s.Close(context.Background()))
		ts.Check(network.Close())
	}
	ts.Defer(func() {
		if stop, ok := script.servers[name]; ok {
			stop()
		}
	})
}

func startRelay(network onion.Network, keys *identity.Server) (*relay.Server, error) {
	return startRelayOn(network, keys, storagetest.NewMemory())
}

func startRelayOn(network onion.Network, keys *identity.Server, store storage.Store) (*relay.Server, error) {
	return relay.Start(context.Background(), relay.Config{
		Network: network, Keys: keys, Store: store,
		Limits: limits.Limits{
			Connections: 100, ConnectionsPerSecond: 1000,
			HandshakeTimeout: time.Minute, IdleTimeout: time.Hour,
			OutstandingPosts: 8, QueueRecords: 1000, QueueBytes: 1 << 20, PostTimeout: time.Minute,
			TokenBatchesPerSecond: 100, TokenBatch: 150,
			ReaderBuffer: 64 << 10, StuckReader: time.Minute,
		},
	})
}

func stopServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: shutdown NAME")
	}
	ts.Value(scriptNetworkKey{}).(*scriptNetwork).servers[args[0]]()
}

func setFromFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fromfile VARIABLE FILE")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

func setWord(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: field VARIABLE FILE LINE WORD")
	}
	line, err := strconv.Atoi(args[2])
	ts.Check(err)
	word, err := strconv.Atoi(args[3])
	ts.Check(err)
	lines := strings.Split(ts.ReadFile(args[1]), "\n")
	if line > len(lines) || word > len(strings.Fields(lines[line-1])) {
		ts.Fatalf("no word %d in line %d of %q", word, line, lines)
	}
	ts.Setenv(args[0], strings.Fields(lines[line-1])[word-1])
}
