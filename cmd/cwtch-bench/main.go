// Command cwtch-bench measures a relay against the limits of the machine that
// it runs on.
//
//	cwtch-bench -relay bin/cwtch-relay            print a table
//	cwtch-bench -relay bin/cwtch-relay -json F    and write every figure to F
//	cwtch-bench -relay bin/cwtch-relay -quick     a smoke test of the bench itself
//	cwtch-bench -relay bin/cwtch-relay -large     10^6 stored envelopes instead of 10^5
//	cwtch-bench -relay bin/cwtch-relay -storage sqlite    another store; the targets are those of bolt
//	cwtch-bench -relay bin/cwtch-relay -only idle,stores  some parts, to repeat them quickly
//
// It starts the program it is given, as an operator would, with a storage plugin
// in a process of its own, on the loopback network, in a temporary directory,
// with limits that do not get in the way; and is many clients to it.
//
// # How to read it
//
// The clients run on the processors that the relay runs on, and take about half
// of them. So rates are lower bounds; the processor time of relay and plugin
// for one item is the figure that says what the relay costs.
//
// Figures change with what else the machine does. So the limits are measured as
// well, right before and after what is compared with them: what one token
// verification, one sealed packet, one commit of bare bbolt cost in that moment.
// Ratios are computed within a round, the table shows the median of the rounds,
// and the spread beside it.
//
// # What a post is
//
// A post is as long as one of the Cwtch client: 4 KiB of JSON, in a packet of
// 8 KiB. Every client has one post under way, and has not asked for a replay, so
// that what is measured is the way into the log and not the way out.
//
// # Where the tokens come from
//
// Each post takes a token, and a token takes its buyer some milliseconds of
// processor time, a hundred times what the post takes the relay. The bench makes
// the keys of the relay before it starts it, so it knows the secret scalar k of
// the token service and derives tokens as nobody else can: T at random,
// W = k·H(T). To the relay they are like any other. The token service is
// measured by itself, with purchases.
//
// # The storage plugins
//
// Each is also measured by itself: called directly, over gRPC on a unix socket
// within the bench, as a process that was started by hand, without sandbox and
// TLS, and as the process that the relay starts, in its sandbox and with mutual
// TLS. They get the same batches in turn. The processor time includes both sides. The
// wall time is measured by one caller, who waits for each batch to be durable.
//
// # Peers
//
// A relay with three peers that are up, and one without, take turns with the same posts.
// All run on the processors of this machine, so the rates say what such a machine can do as
// a whole. What the peers cost the relay that is posted to is in its processor time, and that
// of its plugins, from the first post until all peers have the last one. A second load is slow
// enough to leave a processor free.
//
// The part "hostile" has peers fill all that a peer may fill of a relay. The part "catchup"
// needs tor: it starts a private Tor network, in which a relay without envelopes gets those of
// another one, and compares that with a plain stream over two Tors of the same kind.
//
// # Many servers
//
// The part "hosting" needs tor too. It adds servers to a running relay one after the other, as
// the console does, until others can reach them; loads the page of the console that lists them;
// and starts the relay anew with all of them. The memory of a server is what anonymous memory
// grows by from the first server to the last, for each.
//
// # A relay that does nothing
//
// A relay of its own, with a plugin of each kind, is left alone for half a minute.
// The relay comes with no stats and no peersync plugin, so those of examples/ are
// built, which needs a checkout around the working directory and the go command.
// Without them these rows are left out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/stdout"
	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

func main() {
	sandbox.Main()
	durable.PrivateUmask()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	out := stdout.New(os.Stdout)
	err := runBench(ctx, os.Args[1:], out, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	if status := out.Status(0, os.Stderr); status != 0 {
		os.Exit(status)
	}
}

// options are the flags.
type options struct {
	relay string // the program
	json  string // file, or none
	dir   string // for the temporary directory
	quick bool
	large bool
	size  int // of a post, in bytes

	storage string // plugin
	only    string // names of parts, with commas; empty: all
}

func runBench(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o options
	f := flag.NewFlagSet("cwtch-bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	pathname.Var(f, &o.relay, "relay", "bin/cwtch-relay", "the `program` to measure")
	pathname.Var(f, &o.json, "json", "", "write all figures to `file`")
	pathname.Var(f, &o.dir, "dir", "", "`directory` below which to work; its disk is what is measured")
	f.BoolVar(&o.quick, "quick", false, "touch everything, measure nothing well; some seconds")
	f.BoolVar(&o.large, "large", false, "a store of 10^6 envelopes, some 3 GiB")
	f.IntVar(&o.size, "size", 4096, "length of a post in `bytes` of JSON")
	f.StringVar(&o.storage, "storage", judgedStorage, "the storage `plugin` of the relays: bolt or sqlite")
	f.StringVar(&o.only, "only", "", "measure these `parts` only, with commas between them: "+strings.Join(partNames(), ", "))
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	p, err := choosePlan(o)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "cwtch-bench-")
	if err != nil {
		return fmt.Errorf("make a directory to work in: %w", err)
	}
	defer os.RemoveAll(dir)
	b := &bench{plan: p, program: o.relay, dir: dir, sheet: newSheet(p), progress: stderr}
	m, err := describeMachine(ctx, o.relay, dir)
	if err != nil {
		return err
	}
	if err := b.runRounds(ctx); err != nil {
		return err
	}
	m.noteEnd()
	if err := b.sheet.printTable(stdout, m, p); err != nil {
		return err
	}
	if o.json == "" {
		return nil
	}
	return b.sheet.writeJSON(o.json, m, p)
}
