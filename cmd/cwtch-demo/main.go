// Command cwtch-demo shows a relay at work on this machine: it starts a private
// Tor network on loopback, a relay from examples/quickstart/server.hcl, and
// three people with cwtch-group. One makes a group and invites two, all post,
// and one comes late and reads everything.
//
// With -cluster, the three host a relay each instead, and their group lives on all
// three. The relays replicate. One is cut off for a while, and in the end all but one
// are stopped.
//
// What people type is run as it is printed, with the real programs. The exit status is
// 0 only if everything came out as it is told. Nothing leaves this machine, and nothing
// is left running on it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

// The whole demonstration may take so long.
const (
	limit        = 2 * time.Minute
	clusterLimit = 6 * time.Minute
)

func main() {
	sandbox.Main() // a tor of its own is a child of this program
	durable.PrivateUmask()
	// Children are told to end when this thread does, see the stage's start.
	runtime.LockOSThread()
	var bin, example string
	pathname.Var(flag.CommandLine, &bin, "bin", "bin", "directory of cwtch-relay and cwtch-group")
	pathname.Var(flag.CommandLine, &example, "config", "examples/quickstart/server.hcl", "configuration of the relay")
	cluster := flag.Bool("cluster", false, "show three relays that replicate a group without a server")
	flag.Parse()
	// Whatever goes wrong here, no tor of ours may reach the public network.
	if err := os.Setenv("CWTCH_RELAY_TOR_TESTING_ONLY", "1"); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	show, limit := func(ctx context.Context, s *demo) error { return s.showServer(ctx, example) }, limit
	if *cluster {
		show, limit = showCluster, clusterLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := runDemo(ctx, bin, show); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

// runDemo shows a demonstration; everything that it starts has ended when it returns.
func runDemo(ctx context.Context, bin string, show func(context.Context, *demo) error) (err error) {
	s, err := newDemo(bin)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, s.endAll()); err == nil {
			s.announce("It ended with status 0. Nothing is left running.")
		}
	}()
	s.announce("A private Tor network comes up on 127.0.0.1: five relays, no way out.")
	if err := s.startTorNetwork(ctx); err != nil {
		return err
	}
	return show(ctx, s)
}

// showServer shows a server and three people who talk through it.
func (s *demo) showServer(ctx context.Context, example string) error {
	s.announce("A relay hosts a server behind it. Its file is %s,\nwith lines added that keep its Tor on the private network.", example)
	text, err := os.ReadFile(example)
	if err != nil {
		return err
	}
	h, err := s.addHost("host")
	if err != nil {
		return err
	}
	if err := h.writeConfig(string(text)); err != nil {
		return err
	}
	bundle, err := h.startRelay(ctx)
	if err != nil {
		return err
	}

	alice, bob, carol := s.addPerson("alice"), s.addPerson("bob"), s.addPerson("carol")
	s.announce("Alice got the text of the server from its host. She makes a group.")
	alice.runGroup(ctx, "import-server", bundle)
	alice.runGroup(ctx, "create", "book club")
	invite := alice.runGroup(ctx, "invite", "-with-server", "book club")
	s.announce("She posts. That takes write tokens, which cost a proof of work.")
	alice.runGroup(ctx, "post", "book club", "Welcome! We begin with The Dispossessed.")

	s.announce("Bob was invited and answers.")
	bob.runGroup(ctx, "join", invite)
	bob.runGroup(ctx, "post", "book club", "I have read it twice.")

	s.announce("Carol comes late, and reads everything.")
	carol.runGroup(ctx, "join", invite)
	carol.runGroup(ctx, "post", "book club", "Then I had better hurry.")
	carol.expectLines(ctx, 3, "read", "book club")

	s.announce("So do the others.")
	alice.expectLines(ctx, 3, "read", "book club")
	bob.expectLines(ctx, 3, "read", "book club")

	s.announce("What the host sees of all this:")
	h.runRelay(ctx, "status")
	if s.failed != nil {
		return s.failed
	}
	s.announce("The relay is told to end.")
	return h.stopRelay()
}
