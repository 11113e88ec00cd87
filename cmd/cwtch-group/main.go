// Command cwtch-group is a member of Cwtch groups at the command line: it makes
// and joins groups, posts to them, reads and follows them. It is for people, and
// for scripts and bots, which find JSON behind -json.
//
//	cwtch-group import-server server:…            trust a server
//	cwtch-group create -server ADDR "book club"   make a group there
//	cwtch-group invite "book club"                print what others join with
//	cwtch-group join torv3…                       join
//	cwtch-group post "book club" "text"
//	cwtch-group read "book club"
//	cwtch-group follow "book club"
//	cwtch-group list
//	cwtch-group version
//
// Facts and messages go to standard output; progress, errors and hints go to
// standard error. The exit status is 0, 1 after an error and 2 after wrong usage.
//
// Everything lives in a profile directory; its package says what is kept there.
// Messages are not: each reading replays them from the server.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
)

func main() {
	sandbox.Main()
	if err := sandbox.ProtectMemory(); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	status := run(ctx, os.Args[1:], surroundings{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, terminal: isTerminal(os.Stderr), getenv: os.Getenv,
	})
	stop()
	os.Exit(status)
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}
