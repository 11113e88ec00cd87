// Command cwtch-attack attacks a relay as a stranger can, and says what an honest
// client meets meanwhile.
//
//	cwtch-attack -relay bin/cwtch-relay connect    storms of connections, of five kinds
//	cwtch-attack -relay bin/cwtch-relay buy        buyers of 150 tokens
//	cwtch-attack -relay bin/cwtch-relay replay     replays from a signature that many envelopes have, and from others
//	cwtch-attack -relay bin/cwtch-relay fill       posters of as much as the relay takes, without and with a budget
//
// It exits with status 1 if the honest client was turned away, or waited longer
// than the bound that the table shows.
//
// It attacks only a relay that it starts itself from the given program, in a temporary
// directory, on the loopback network. It has no way to name another relay. Every attack is
// bounded in connections and in time, and ends by itself. Clients and relay share the
// processors of the machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/stdout"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

func main() {
	durable.PrivateUmask()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	out := stdout.New(os.Stdout)
	err := runCommand(ctx, os.Args[1:], out, os.Stderr)
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
	relay       string
	storage     string
	time        time.Duration
	rate        int // connections opened in a second
	connections int // limit of the relay
	buyers      int
	envelopes   int
	readers     int
	posters     int
	posts       int
	early       time.Duration
}

// maxOptions bounds the flags, so that a slip of the finger does not take the machine.
var maxOptions = options{time: 5 * time.Minute, rate: 2000, connections: 8192, buyers: 2000, envelopes: 200_000, readers: 4000, posters: 2000, posts: 1_000_000, early: time.Hour}

func (o options) validate() error {
	for _, c := range []struct {
		flag        string
		value, most int
	}{
		{"time", int(o.time), int(maxOptions.time)}, {"rate", o.rate, maxOptions.rate}, {"connections", o.connections, maxOptions.connections},
		{"buyers", o.buyers, maxOptions.buyers}, {"envelopes", o.envelopes, maxOptions.envelopes}, {"readers", o.readers, maxOptions.readers},
		{"posters", o.posters, maxOptions.posters}, {"posts", o.posts, maxOptions.posts},
	} {
		if c.value < 1 || c.value > c.most {
			return fmt.Errorf("-%s is out of bounds", c.flag)
		}
	}
	if o.early < 0 || o.early > maxOptions.early {
		return errors.New("-early is out of bounds")
	}
	return nil
}

func runCommand(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o options
	f := flag.NewFlagSet("cwtch-attack", flag.ContinueOnError)
	f.SetOutput(stderr)
	pathname.Var(f, &o.relay, "relay", "bin/cwtch-relay", "the `program` to attack")
	f.StringVar(&o.storage, "storage", "bolt", "the storage `plugin` of the relay")
	f.DurationVar(&o.time, "time", 5*time.Second, "how long each attack lasts")
	f.IntVar(&o.rate, "rate", 250, "connect: `connections` opened in a second")
	f.IntVar(&o.connections, "connections", 256, "connect: the `limit` of the relay")
	f.IntVar(&o.buyers, "buyers", 340, "buy: buyers at a time")
	f.IntVar(&o.envelopes, "envelopes", 2000, "replay: envelopes to plant")
	f.IntVar(&o.readers, "readers", 100, "replay: connections that ask at a time")
	f.IntVar(&o.posters, "posters", 32, "fill: connections that post at a time")
	f.DurationVar(&o.early, "early", 0, "fill: how long the honest clients are there before the attack on the budget")
	f.IntVar(&o.posts, "posts", 100_000, "fill: `posts` of all of them after which they stop")
	if err := f.Parse(args); err != nil {
		return err
	}
	if err := o.validate(); err != nil {
		return err
	}
	attacks := map[string][]attack{"connect": connectAttacks, "buy": {buyAttack}, "replay": replayAttacks, "fill": fillAttacks}
	chosen := attacks[f.Arg(0)]
	if chosen == nil || f.NArg() != 1 {
		return errors.New("name one attack: connect, buy, replay or fill")
	}
	var rows []*result
	for _, a := range chosen {
		fmt.Fprintf(stderr, "%s: %s\n", f.Arg(0), a.name)
		res, err := o.performAttack(ctx, a)
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		rows = append(rows, res)
	}
	if err := writeTable(stdout, rows); err != nil {
		return err
	}
	if slices.ContainsFunc(rows, func(r *result) bool { return !r.isMet() }) {
		return errors.New("the honest client was not served within the bound")
	}
	return nil
}
