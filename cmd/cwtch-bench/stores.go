package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/plugins/storage/bolt"
	"github.com/cwtch-relay/cwtch-relay/plugins/storage/sqlite"
	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// batches are the sizes of the batches that the stores are given.
var batches = []int{1, 16, 64, 256}

// storagePlugins are those that come with the relay.
func storagePlugins() []plugin.Plugin { return []plugin.Plugin{bolt.Plugin(), sqlite.Plugin()} }

// transports are the ways in which a store is called: by its methods, over gRPC on a
// unix socket within this process, as a process that was started by hand, without
// sandbox and TLS, and as the process that a relay starts, in its sandbox and with
// mutual TLS.
var transports = []struct {
	name, text string
	open       func(*bench, context.Context, plugin.Plugin, string) (*openStore, error)
}{
	{"direct", "direct", (*bench).openDirect},
	{"gRPC", "gRPC", (*bench).openGRPC},
	{"plain", "process without TLS", (*bench).openAttached},
	{"process", "process", (*bench).openProcess},
}

// openStore is a store that is called over one of the transports.
type openStore struct {
	storage.Store
	name   string // of its figures
	pid    int    // of the process of the plugin; 0: it has none
	closes []func() error
}

// closeAll closes the store, and then what was needed to call it.
func (o *openStore) closeAll() error {
	var errs []error
	for _, f := range slices.Backward(o.closes) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// cpuTime returns the processor time of this process and the plugin together.
func (o *openStore) cpuTime() (time.Duration, error) {
	own, err := cpuTime(os.Getpid())
	if err != nil || o.pid == 0 {
		return own, err
	}
	plugin, err := cpuTime(o.pid)
	return own + plugin, err
}

// measureStores measures the storage plugins by themselves.
func (b *bench) measureStores(ctx context.Context) error {
	for _, p := range storagePlugins() {
		if err := b.measureStoreProcess(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	dir := filepath.Join(b.dir, "stores")
	defer os.RemoveAll(dir)
	var all []*openStore
	defer func() {
		for _, o := range all {
			o.closeAll() //nolint:errcheck // nobody wants what is in it
		}
	}()
	for _, p := range storagePlugins() {
		for _, way := range transports {
			name := p.Name + "." + way.name
			at := filepath.Join(dir, name)
			if err := os.MkdirAll(at, 0o700); err != nil {
				return err
			}
			o, err := way.open(b, ctx, p, at)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			o.name = name
			all = append(all, o)
		}
	}
	for _, size := range batches {
		if err := b.measureAppends(ctx, all, size); err != nil {
			return err
		}
	}
	return nil
}

// measureAppends gives each store batches of size envelopes. The stores take turns, there
// and back, so that other load on the machine slows all of them.
func (b *bench) measureAppends(ctx context.Context, all []*openStore, size int) error {
	back := slices.Clone(all)
	slices.Reverse(back)
	n := b.plan.Batches[size]
	src := newEnvelopeSource(b.plan.Size)
	took := map[*openStore]cost{}
	for _, o := range slices.Concat(all, back) {
		work := make([][]storage.Record, n)
		for i := range work {
			work[i] = src.newRecords(size)
		}
		this, err := o.measureAppends(ctx, work)
		if err != nil {
			return fmt.Errorf("%s, batch of %d: %w", o.name, size, err)
		}
		took[o] = cost{took[o].elapsed + this.elapsed, took[o].cpu + this.cpu}
	}
	for _, o := range all {
		name := fmt.Sprintf("store.%s.%d", o.name, size)
		b.sheet.setFigure(name+".cpu", took[o].cpuPerItem(2*n*size))
		b.sheet.setFigure(name+".rate", took[o].perSecond(2*n*size))
	}
	return nil
}

func (o *openStore) measureAppends(ctx context.Context, work [][]storage.Record) (cost, error) {
	before, err := o.cpuTime()
	if err != nil {
		return cost{}, err
	}
	start := time.Now()
	for _, batch := range work {
		if _, err := o.Append(ctx, batch); err != nil {
			return cost{}, err
		}
	}
	elapsed := time.Since(start)
	after, err := o.cpuTime()
	return cost{elapsed, after - before}, err
}

// measureStoreProcess measures the process of an idle storage plugin.
func (b *bench) measureStoreProcess(ctx context.Context, p plugin.Plugin) error {
	dir := filepath.Join(b.dir, "idle-"+p.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	start := time.Now()
	o, err := b.openProcess(ctx, p, dir)
	if err != nil {
		return err
	}
	defer o.closeAll() //nolint:errcheck // nobody wants what is in it
	if _, err := o.Info(ctx); err != nil {
		return err
	}
	b.sheet.setFigure("plugin."+p.Name+".start", time.Since(start).Seconds())
	resident, err := awaitStableRSS(ctx, o.pid)
	if err != nil {
		return err
	}
	b.sheet.setFigure("plugin."+p.Name+".memory", float64(resident)/1024)
	private, err := readMemory(o.pid, "RssAnon")
	if err != nil {
		return err
	}
	b.sheet.setFigure("plugin."+p.Name+".private", float64(private)/1024)
	return nil
}

// newRecords makes records that nobody has made before, each with a token.
func (s *envelopeSource) newRecords(n int) []storage.Record {
	records := make([]storage.Record, n)
	for i := range records {
		e := s.newEnvelope()
		records[i] = storage.Record{
			ID: storage.NewID(e.Signature, e.Ciphertext), Born: storage.HourOf(time.Now()),
			Signature: e.Signature, Ciphertext: e.Ciphertext, Nullifier: new(storage.Nullifier),
		}
		rand.Read(records[i].Nullifier[:])
	}
	return records
}

var discardLog = slog.New(slog.DiscardHandler)

func (b *bench) openDirect(ctx context.Context, p plugin.Plugin, dir string) (*openStore, error) {
	value, err := p.Schema.Value(nil)
	if err != nil {
		return nil, err
	}
	cfg, err := plugin.NewConfig(p.Schema, value, dir, discardLog)
	if err != nil {
		return nil, err
	}
	store, err := p.Storage(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &openStore{Store: store, closes: []func() error{store.Close}}, nil
}

func (b *bench) openGRPC(ctx context.Context, p plugin.Plugin, dir string) (*openStore, error) {
	socket := filepath.Join(dir, "socket")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	server := plugin.NewServer(p, discardLog)
	go server.Serve(listener) //nolint:errcheck // ends with Stop
	o := &openStore{closes: []func() error{func() error { server.Stop(); return nil }}}
	conn, err := grpc.NewClient("unix:"+socket, append(host.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		return nil, errors.Join(err, o.closeAll())
	}
	o.closes = append(o.closes, conn.Close)
	return o.openByClient(ctx, host.NewClient(conn), p, dir)
}

func (b *bench) openProcess(ctx context.Context, p plugin.Plugin, dir string) (*openStore, error) {
	program, err := filepath.Abs(b.program)
	if err != nil {
		return nil, err
	}
	command, err := sandbox.Wrap(pluginproc.Command{
		Path: program,
		Args: []string{"plugin-serve", string(plugin.KindStorage), p.Name},
	}, sandbox.Policy{Dir: dir})
	if err != nil {
		return nil, err
	}
	process, err := pluginproc.Start(ctx, pluginproc.StartConfig{Command: command, Logger: discardLog})
	if err != nil {
		return nil, err
	}
	o := &openStore{pid: process.PID(), closes: []func() error{func() error { process.Stop(ctx); return nil }}}
	return o.openByClient(ctx, process.Client(), p, dir)
}

// openAttached starts a plugin as its author does under a debugger.
func (b *bench) openAttached(ctx context.Context, p plugin.Plugin, dir string) (_ *openStore, err error) {
	id := string(plugin.KindStorage) + "/" + p.Name
	o := &openStore{}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.closeAll())
		}
	}()
	cmd := exec.CommandContext(ctx, b.program, "plugin-serve", string(plugin.KindStorage), p.Name, "debug")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	o.pid = cmd.Process.Pid
	o.closes = append(o.closes, func() error { return errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()) })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("read where the plugin is: %w", err)
	}
	_, value, _ := strings.Cut(strings.TrimSpace(line), "=")
	attachments, err := pluginproc.Attachments(strings.Trim(value, "'"))
	if err != nil {
		return nil, err
	}
	attached, err := pluginproc.Attach(ctx, attachments[id])
	if err != nil {
		return nil, err
	}
	o.closes = append(o.closes, func() error { attached.Kill(); return nil })
	return o.openByClient(ctx, attached.Client(), p, dir)
}

// openByClient opens the store of a plugin by its client, with the defaults.
func (o *openStore) openByClient(ctx context.Context, c *host.Client, p plugin.Plugin, dir string) (*openStore, error) {
	value, err := p.Schema.Value(nil)
	if err != nil {
		return nil, errors.Join(err, o.closeAll())
	}
	config, err := p.Schema.Encode(value)
	if err != nil {
		return nil, errors.Join(err, o.closeAll())
	}
	if err := c.Configure(ctx, config, dir); err != nil {
		return nil, errors.Join(err, o.closeAll())
	}
	o.Store = c.Storage()
	o.closes = append(o.closes, o.Close)
	return o, nil
}

// storeGroups are the parts of the table for what stores measures.
func storeGroups() []group {
	cpu := group{title: "an envelope appended to a store, without a relay: caller and plugin"}
	rate := group{title: "envelopes appended to a store, without a relay, by one caller"}
	process := group{title: "the process of a storage plugin"}
	for _, p := range storagePlugins() {
		for _, size := range batches {
			for _, way := range transports {
				name := fmt.Sprintf("store.%s.%s.%d", p.Name, way.name, size)
				text := fmt.Sprintf("%s, batch of %d, %s", p.Name, size, way.text)
				cpu.rows = append(cpu.rows, &row{Name: name + ".cpu", Text: text, Unit: "µs CPU"})
				rate.rows = append(rate.rows, &row{Name: name + ".rate", Text: text, Unit: "/s"})
			}
		}
		name := "plugin." + p.Name
		process.rows = append(process.rows,
			&row{Name: name + ".start", Text: p.Name + ", start to first answer", Unit: "s", Target: atMost(0.3)},
			&row{Name: name + ".memory", Text: p.Name + ", resident memory of an idle one", Unit: "MiB", Target: atMost(20)},
			&row{Name: name + ".private", Text: p.Name + ", private memory without files", Unit: "MiB"},
		)
	}
	return []group{cpu, rate, process}
}
