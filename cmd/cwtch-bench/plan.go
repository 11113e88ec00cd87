package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// plan says how much of everything to do in one round. Work is counted and not timed, so
// that a slow machine takes longer and measures the same.
type plan struct {
	Rounds int `json:"rounds"`
	Size   int `json:"post_bytes"`

	Storage string   `json:"storage"` // the plugin of the relays
	Only    []string `json:"only,omitempty"`

	Few  int `json:"few"`  // envelopes in the small store
	Many int `json:"many"` // and in the large one

	Posts map[int]int `json:"posts"` // by number of clients

	Batches map[int]int `json:"batches"` // for each store, by their size

	Purchases int `json:"purchases"` // of each size
	Tries     int `json:"tries"`     // of a proof of work, at the least

	Readers    int `json:"readers"`     // of replays at a time
	ReaderPart int `json:"reader_part"` // envelopes that each of them takes

	Subscribers int           `json:"subscribers"`
	Paced       int           `json:"paced_posts"`
	Pace        time.Duration `json:"pace_ns"`
	Closed      int           `json:"closed_loop_posts"`
	Window      int           `json:"closed_loop_window"`

	IdleConnections int           `json:"idle_connections"`
	IdleTime        time.Duration `json:"idle_ns"` // for which a relay is left alone

	PeerPaced int `json:"peer_paced_posts"`
	CatchUp   int `json:"catch_up"` // envelopes

	Hosted   int           `json:"hosted_servers"`
	Guessing time.Duration `json:"guessing_ns"` // for which passphrases are guessed

	Limit time.Duration `json:"limit_ns"` // for each look at a limit of the machine
}

// judgedStorage is the storage plugin that the targets are for.
const judgedStorage = "bolt"

func choosePlan(o options) (plan, error) {
	p := plan{
		Storage: o.storage,
		Rounds:  3,
		Size:    o.size,
		Few:     1_000, Many: 100_000,
		Posts:     map[int]int{1: 1_200, 16: 6_000, 64: 16_000},
		Batches:   map[int]int{1: 300, 16: 60, 64: 30, 256: 10},
		Purchases: 200, Tries: 2 * averageTries,
		Readers: 32, ReaderPart: 3_000,
		Subscribers: 100, Paced: 150, Pace: 20 * time.Millisecond, Closed: 600, Window: 16,
		IdleConnections: 1_000, IdleTime: 30 * time.Second,
		PeerPaced: 600, CatchUp: 10_000,
		Hosted: 50, Guessing: time.Minute,
		Limit: 500 * time.Millisecond,
	}
	if o.large {
		p.Many = 1_000_000
	}
	if o.quick {
		p.Rounds = 1
		p.Few, p.Many = 100, 2_000
		p.Posts = map[int]int{1: 40, 16: 200, 64: 400}
		p.Batches = map[int]int{1: 10, 16: 2, 64: 1, 256: 1}
		p.Purchases, p.Tries = 8, 2_500
		p.Readers, p.ReaderPart = 8, 200
		p.Subscribers, p.Paced, p.Closed = 20, 20, 40
		p.IdleConnections, p.IdleTime = 50, time.Second
		p.PeerPaced, p.CatchUp = 40, 300
		p.Hosted, p.Guessing = 3, time.Second
		p.Limit = 20 * time.Millisecond
	}
	if !slices.ContainsFunc(storagePlugins(), func(x plugin.Plugin) bool { return x.Name == o.storage }) {
		return p, fmt.Errorf("-storage %s: there is no such plugin", o.storage)
	}
	if o.only != "" {
		p.Only = strings.Split(o.only, ",")
	}
	for _, name := range p.Only {
		if !slices.Contains(partNames(), name) {
			return p, fmt.Errorf("-only %s: the parts are %s", name, strings.Join(partNames(), ", "))
		}
	}
	return p, nil
}

// part is something that a round measures, with the relays that it needs.
type part struct {
	name         string
	small, large bool
	run          func(b *bench, ctx context.Context, small, large *relay) error
}

// allParts are in the order of a round.
func allParts() []part {
	return []part{
		{name: "idle", run: func(b *bench, ctx context.Context, _, _ *relay) error { return b.measureIdleRelay(ctx) }},
		{name: "connections", small: true, run: func(b *bench, ctx context.Context, small, _ *relay) error { return b.measureConnections(ctx, small) }},
		{name: "replay", large: true, run: func(b *bench, ctx context.Context, _, large *relay) error { return b.measureReplays(ctx, large) }},
		{name: "posts", small: true, large: true, run: (*bench).measurePosts},
		{name: "tokens", small: true, run: func(b *bench, ctx context.Context, small, _ *relay) error { return b.measurePurchases(ctx, small) }},
		{name: "fanout", small: true, run: func(b *bench, ctx context.Context, small, _ *relay) error { return b.measureFanOut(ctx, small) }},
		{name: "peers", run: func(b *bench, ctx context.Context, _, _ *relay) error { return b.measurePeers(ctx) }},
		{name: "hostile", run: func(b *bench, ctx context.Context, _, _ *relay) error { return b.measureHostilePeers(ctx) }},
		{name: "catchup", run: func(b *bench, ctx context.Context, _, _ *relay) error { return b.measureCatchUp(ctx) }},
		{name: "hosting", run: func(b *bench, ctx context.Context, _, _ *relay) error { return b.measureHosting(ctx) }},
		{name: "retention", run: func(b *bench, ctx context.Context, _, _ *relay) error { return b.measureRetention(ctx) }},
		{name: "stores", run: func(b *bench, ctx context.Context, _, _ *relay) error { return b.measureStores(ctx) }},
	}
}

func partNames() (names []string) {
	for _, p := range allParts() {
		names = append(names, p.name)
	}
	return names
}

// chosenParts are the parts that this run measures.
func (p plan) chosenParts() []part {
	return slices.DeleteFunc(allParts(), func(x part) bool { return p.Only != nil && !slices.Contains(p.Only, x.name) })
}

// bench is one run of the program.
type bench struct {
	plan     plan
	program  string
	dir      string
	sheet    *sheet
	progress io.Writer

	large    *relayHome
	linked   *relayHome // as many envelopes, with and without peers
	retained *relayHome // a tenth of what it stores is old, for each round
	examples string     // directory of the built example plugins; empty: there are none
}

// storagePlugin is the plugin of the relays.
func (b *bench) storagePlugin() plugin.Plugin {
	all := storagePlugins()
	return all[slices.IndexFunc(all, func(p plugin.Plugin) bool { return p.Name == b.plan.Storage })]
}

// relayHome is a directory from which a relay can be started, and what the bench
// knows of it.
type relayHome struct {
	dir    string
	keys   *identity.Server
	stored int
	last   []byte // signature of the last envelope that was put in beforehand
	rounds int    // that have removed a tenth

	// Of the configuration: its network, plugins that it declares, and those that the server
	// uses beside its store.
	network, declared, used string
	maxAge                  time.Duration // of what is kept
}

func (b *bench) printf(format string, args ...any) {
	fmt.Fprintf(b.progress, format+"\n", args...)
}

func (b *bench) runRounds(ctx context.Context) (err error) {
	wanted := b.plan.chosenParts()
	if slices.ContainsFunc(wanted, func(p part) bool { return p.large }) {
		b.printf("store %d envelopes", b.plan.Many)
		if b.large, err = b.prepareHome(ctx, "many", b.plan.Many, bornNow); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(wanted, func(p part) bool { return p.name == "retention" }) {
		if err := b.prepareRetention(ctx); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(wanted, func(p part) bool { return p.name == "idle" }) {
		if b.examples, err = b.buildExamples(ctx); err != nil {
			b.sheet.leaveOut(idleGroup, err)
		}
	}
	for n := range b.plan.Rounds {
		b.printf("round %d of %d", n+1, b.plan.Rounds)
		if err := b.runRound(ctx, n); err != nil {
			return err
		}
		b.sheet.endRound()
	}
	return nil
}

// runRound measures everything once. The small store is new in each round, the
// large one grows a little.
func (b *bench) runRound(ctx context.Context, n int) error {
	var small, large *relay
	for _, p := range b.plan.chosenParts() {
		if p.small && small == nil {
			few, err := b.prepareHome(ctx, fmt.Sprintf("few-%d", n), b.plan.Few, bornNow)
			if err != nil {
				return err
			}
			defer os.RemoveAll(few.dir)
			if small, err = b.startRelay(ctx, few); err != nil {
				return err
			}
			defer small.killRunning()
		}
		if p.large && large == nil {
			var err error
			if large, err = b.startLarge(ctx); err != nil {
				return err
			}
			defer large.killRunning()
		}
		b.printf("  %s", p.name)
		if err := p.run(b, ctx, small, large); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if large != nil {
		size, err := large.fileSize(b.plan.Size)
		if err := errors.Join(err, large.stopAndWait()); err != nil {
			return err
		}
		b.sheet.setFigure("file", size)
	}
	if small != nil {
		return small.stopAndWait()
	}
	return nil
}

// prepareHome makes a directory for a relay with n envelopes in its store; born returns the
// hour of each.
func (b *bench) prepareHome(ctx context.Context, name string, n int, born func(i int) storage.Hour) (*relayHome, error) {
	s := &relayHome{dir: filepath.Join(b.dir, name), stored: n, network: loopbackNetwork, maxAge: 36500 * day}
	if err := os.MkdirAll(s.serverDir(), 0o700); err != nil {
		return nil, err
	}
	var err error
	if s.keys, err = identity.LoadOrCreate(filepath.Join(s.serverDir(), "keys")); err != nil {
		return nil, err
	}
	if err := b.fillStore(ctx, s, n, born); err != nil {
		return nil, fmt.Errorf("fill the store: %w", err)
	}
	return s, nil
}
