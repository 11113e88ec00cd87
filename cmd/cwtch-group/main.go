// Command cwtch-group makes, joins, reads and follows Cwtch groups, and posts to
// them. It is for people at a terminal, and with -json for scripts and bots.
//
//	cwtch-group init                              make a profile
//	cwtch-group import-server server:…            trust a server
//	cwtch-group create -server ADDR "book club"   make a group there
//	cwtch-group invite "book club"                print what others join with
//	cwtch-group join torv3…                       join
//	cwtch-group post "book club" "text"
//	cwtch-group read "book club"
//	cwtch-group follow "book club"
//	cwtch-group members "book club"
//	cwtch-group nick "book club" nn44k7tk Anna    call a member Anna
//	cwtch-group rename "book club" books
//	cwtch-group leave books
//	cwtch-group create -serverless -core-peer server:… -core-peer server:… "night shift"
//	cwtch-group peer list "night shift"           see which core peers answer
//	cwtch-group peer add "night shift" server:…
//	cwtch-group peer remove "night shift" ADDR
//	cwtch-group peer announce "night shift"       tell the members again
//	cwtch-group bot "night shift"                 keep the core peers at the same state
//	cwtch-group local ADDR DIR                    reach an own server without Tor
//	cwtch-group list
//	cwtch-group version
//
// Facts and messages go to standard output; progress, errors and hints go to
// standard error. The exit status is 0, 1 after an error, 2 after wrong usage, and
// 130 or 143 after ^C or SIGTERM. They are the usual end of follow, which returns 0.
//
// With -json, standard output and standard error have JSON, one value a line. An error
// is {"error": …, "hint": …, "status": …}; not every error has a hint.
//
// Everything is kept in a profile directory, see package profile. Messages are not:
// read and follow replay them from the server.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/stdout"
	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
)

// endTimeout is how long the program may go on after a signal. Without it, it would
// wait forever if nobody reads what it prints.
const endTimeout = 10 * time.Second

func main() {
	sandbox.Main()
	durable.PrivateUmask()
	if err := sandbox.ProtectMemory(); err != nil {
		failure{Error: err.Error(), Status: 1}.printTo(os.Stderr, wantsJSON(os.Args[1:]))
		os.Exit(1)
	}
	ctx, interrupt := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		s, _ := (<-signals).(syscall.Signal)
		signal.Reset(os.Interrupt, syscall.SIGTERM) // a second signal ends the program at once
		interrupt(interruption{s})
		time.Sleep(endTimeout)
		os.Exit(128 + int(s))
	}()
	// Without this, a closed pipe at a standard descriptor ends the process: a post
	// whose progress nobody reads would be cut off.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	out := stdout.New(os.Stdout)
	status := runCommand(ctx, os.Args[1:], environment{
		stdin: os.Stdin, stdout: out, stderr: os.Stderr, terminal: isTerminal(os.Stderr), getenv: os.Getenv,
	})
	os.Exit(out.Status(status, os.Stderr))
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}
