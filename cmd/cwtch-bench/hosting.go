package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/onion/tornet"
)

const (
	hostingGroup = "many servers over a private Tor network, with the console"
	// publishTimeout ends the wait for the network and for servers on it.
	publishTimeout = 5 * time.Minute
	pageLoads      = 20
	passphrase     = "not the first thing that comes to mind"
)

// hostingConfig is filled in with the network.
const hostingConfig = `data_dir = "data"
%s
log { level = "warn" }
console { listen = "unix:console.sock" }
`

func hostingRows(p plan) group {
	return group{hostingGroup, []*row{
		{Name: "hosting.add", Text: fmt.Sprintf("add a server until both its onions are published, median of %d", p.Hosted), Unit: "s", Target: atMost(8)},
		{Name: "hosting.add.slowest", Text: "the slowest", Unit: "s"},
		{Name: "hosting.start", Text: fmt.Sprintf("start of the relay until all %d are published", p.Hosted), Unit: "s"},
		{Name: "hosting.relay.memory", Text: "anonymous memory of the relay for each further server", Unit: "MiB"},
		{Name: "hosting.plugin.memory", Text: "anonymous memory of its storage plugin", Unit: "MiB"},
		{Name: "hosting.tor.memory", Text: "anonymous memory of tor for each further server", Unit: "MiB"},
		{Name: "hosting.page", Text: fmt.Sprintf("the console's page of %d servers", p.Hosted), Unit: "ms", Target: atMost(50)},
		{Name: "hosting.page.size", Text: "its size, without compression", Unit: "kB", Target: atMost(100)},
		{Name: "hosting.idle.cpu", Text: fmt.Sprintf("idle relay of one server with its plugin, console open, over %v", p.IdleTime), Unit: "% CPU", Target: atMost(0.5)},
		{Name: "hosting.idle.tor.cpu", Text: "its tor, in a network whose consensus lasts seconds", Unit: "% CPU"},
		{Name: "hosting.attempts", Text: fmt.Sprintf("wrong passphrases that are tried in %v", p.Guessing), Unit: ""},
	}}
}

// hosted is a relay whose servers are added while it runs.
type hosted struct {
	dir string
	cmd *exec.Cmd
}

func (h *hosted) dataDir() string { return filepath.Join(h.dir, "data") }

// measureHosting adds servers to a relay on a private Tor network, one after the other, looks at
// them in the console, and starts the relay with all of them.
func (b *bench) measureHosting(ctx context.Context) error {
	if _, err := exec.LookPath("tor"); err != nil {
		b.sheet.leaveOut(hostingGroup, err)
		return nil
	}
	network, err := tornet.Start(ctx, filepath.Join(b.dir, "tornet"))
	if err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Join(b.dir, "tornet"))
	defer network.Close() //nolint:errcheck // nothing is measured any more
	h := &hosted{dir: filepath.Join(b.dir, "hosted")}
	defer os.RemoveAll(h.dir)
	if err := os.MkdirAll(h.dataDir(), 0o700); err != nil {
		return err
	}
	if err := network.Seed(h.dataDir()); err != nil {
		return err
	}
	config := fmt.Appendf(nil, hostingConfig, torBlock(network.ClientTorrc()))
	if err := os.WriteFile(filepath.Join(h.dir, "server.hcl"), config, 0o600); err != nil {
		return err
	}
	defer h.kill()
	if err := b.measureAdding(ctx, h); err != nil {
		return err
	}
	if err := b.measureStartOfAll(ctx, h); err != nil {
		return err
	}
	return b.measureGuessing(ctx, h)
}

// measureAdding adds all servers. After the first, the relay is left alone with the console open.
func (b *bench) measureAdding(ctx context.Context, h *hosted) error {
	if err := h.start(ctx, b.program); err != nil {
		return err
	}
	if err := h.await(ctx, func(st manager.Status) bool { return st.Network != nil && st.Network.Progress == 100 }); err != nil {
		return fmt.Errorf("wait for the network: %w", err)
	}
	var page *consolePage
	var took []time.Duration
	var first memoryOfParts
	for i := range b.plan.Hosted {
		begun := time.Now()
		if _, err := manager.AskAdd(ctx, h.dataDir(), manager.NewServer{Name: serverNumber(i), Autostart: true}); err != nil {
			return fmt.Errorf("add a server: %w", err)
		}
		took = append(took, time.Since(begun))
		b.printf("    server %d took %.1f s", i+1, took[i].Seconds())
		if i > 0 {
			continue
		}
		var err error
		if page, err = h.openConsole(ctx); err == nil {
			err = b.measureIdleConsole(ctx, h, page)
		}
		if err == nil {
			first, err = h.readParts(ctx)
		}
		if err != nil {
			return err
		}
	}
	slices.Sort(took)
	b.sheet.setFigure("hosting.add", took[len(took)/2].Seconds())
	b.sheet.setFigure("hosting.add.slowest", took[len(took)-1].Seconds())
	all, err := h.readParts(ctx)
	if err != nil {
		return err
	}
	further := float64(max(1, b.plan.Hosted-1)) * 1024
	b.sheet.setFigure("hosting.relay.memory", float64(all.relay-first.relay)/further)
	b.sheet.setFigure("hosting.plugin.memory", float64(all.plugins-first.plugins)/further)
	b.sheet.setFigure("hosting.tor.memory", float64(all.tor-first.tor)/further)
	return b.measurePage(page)
}

func serverNumber(i int) string { return fmt.Sprintf("server-%02d", i) }

// measurePage loads the page of all servers.
func (b *bench) measurePage(page *consolePage) error {
	var took []time.Duration
	var size int
	for range pageLoads {
		begun := time.Now()
		text, err := page.get(page.servers)
		if err != nil {
			return err
		}
		took, size = append(took, time.Since(begun)), len(text)
	}
	slices.Sort(took)
	b.sheet.setFigure("hosting.page", took[pageLoads/2].Seconds()*1e3)
	b.sheet.setFigure("hosting.page.size", float64(size)/1e3)
	return nil
}

// measureIdleConsole measures a relay with one server and an open page that nobody touches.
func (b *bench) measureIdleConsole(ctx context.Context, h *hosted, page *consolePage) error {
	text, err := page.get(page.servers)
	if err != nil {
		return err
	}
	events := regexp.MustCompile(`data-events="([^"]+)"`).FindStringSubmatch(text)
	if events == nil {
		return errors.New("the page of the servers names no events")
	}
	res, err := page.client.Get(consoleOrigin + events[1])
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if kind := res.Header.Get("Content-Type"); kind != "text/event-stream" {
		return fmt.Errorf("the events of the console are %q", kind)
	}
	st, err := manager.AskStatus(ctx, h.dataDir())
	if err != nil {
		return err
	}
	ours, tors := []int{st.PID, st.Servers[0].Storage.PID}, []int{st.Network.Pid}
	before, beforeTor, err := cpuTimes(ours, tors)
	if err != nil {
		return err
	}
	begun := time.Now()
	select {
	case <-time.After(b.plan.IdleTime):
	case <-ctx.Done():
		return ctx.Err()
	}
	elapsed := time.Since(begun).Seconds()
	after, afterTor, err := cpuTimes(ours, tors)
	if err != nil {
		return err
	}
	b.sheet.setFigure("hosting.idle.cpu", 100*(after-before).Seconds()/elapsed)
	b.sheet.setFigure("hosting.idle.tor.cpu", 100*(afterTor-beforeTor).Seconds()/elapsed)
	return nil
}

func cpuTimes(ours, tors []int) (own, tor time.Duration, err error) {
	if own, err = cpuTimeOf(ours); err == nil {
		tor, err = cpuTimeOf(tors)
	}
	return own, tor, err
}

// measureStartOfAll starts the relay again, with all servers.
func (b *bench) measureStartOfAll(ctx context.Context, h *hosted) error {
	if err := h.stop(); err != nil {
		return err
	}
	begun := time.Now()
	if err := h.start(ctx, b.program); err != nil {
		return err
	}
	err := h.await(ctx, func(st manager.Status) bool {
		return len(st.Servers) == b.plan.Hosted && !slices.ContainsFunc(st.Servers, func(s manager.ServerStatus) bool { return s.State != manager.StateRunning })
	})
	if err != nil {
		return fmt.Errorf("wait for all servers: %w", err)
	}
	b.sheet.setFigure("hosting.start", time.Since(begun).Seconds())
	return nil
}

// measureGuessing guesses the passphrase of a server for as long as the plan says, as often as
// the relay lets it.
func (b *bench) measureGuessing(ctx context.Context, h *hosted) error {
	const name = "guarded"
	if _, err := manager.AskAdd(ctx, h.dataDir(), manager.NewServer{Name: name, Passphrase: []byte(passphrase)}); err != nil {
		return fmt.Errorf("add a protected server: %w", err)
	}
	tried := 0
	for end := time.Now().Add(b.plan.Guessing); time.Now().Before(end); {
		_, err := manager.AskUnlock(ctx, h.dataDir(), name, []byte("a wrong passphrase"))
		var wait *manager.TooManyAttemptsError
		switch {
		case errors.Is(err, identity.ErrWrongPassphrase):
			tried++
			continue
		case !errors.As(err, &wait):
			return fmt.Errorf("a wrong passphrase is answered with: %w", err)
		}
		select {
		case <-time.After(min(wait.RetryAfter, time.Until(end))):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b.sheet.setFigure("hosting.attempts", float64(tried))
	return h.stop()
}

// start starts the relay and returns when it answers.
func (h *hosted) start(ctx context.Context, program string) error {
	log, err := os.OpenFile(filepath.Join(h.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	h.cmd = exec.CommandContext(ctx, program, "-config", filepath.Join(h.dir, "server.hcl"))
	h.cmd.Stderr = log
	h.cmd.Cancel = func() error { return h.cmd.Process.Signal(syscall.SIGTERM) }
	h.cmd.WaitDelay = 10 * time.Second
	if err := h.cmd.Start(); err != nil {
		return fmt.Errorf("start the relay: %w", err)
	}
	return h.await(ctx, func(manager.Status) bool { return true })
}

// await waits until the relay answers with such a status.
func (h *hosted) await(ctx context.Context, found func(manager.Status) bool) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	for {
		st, err := manager.AskStatus(ctx, h.dataDir())
		if err == nil && found(st) {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

// stop ends the relay as an operator does.
func (h *hosted) stop() error {
	if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the relay: %w", err)
	}
	return h.cmd.Wait()
}

// kill ends the relay if it still runs.
func (h *hosted) kill() {
	if h.cmd != nil && h.cmd.ProcessState == nil {
		h.cmd.Process.Kill() //nolint:errcheck // it has ended, then
		h.cmd.Wait()         //nolint:errcheck // "signal: killed"
	}
}

// memoryOfParts is the anonymous memory, in KiB, of the processes of a relay.
type memoryOfParts struct{ relay, plugins, tor int }

func (h *hosted) readParts(ctx context.Context) (m memoryOfParts, err error) {
	st, err := manager.AskStatus(ctx, h.dataDir())
	if err != nil {
		return m, err
	}
	for _, p := range []struct {
		pid int
		sum *int
	}{{st.PID, &m.relay}, {st.Network.Pid, &m.tor}} {
		if _, err := awaitStableRSS(ctx, p.pid); err != nil {
			return m, err
		}
		if *p.sum, err = readMemory(p.pid, "RssAnon"); err != nil {
			return m, err
		}
	}
	for _, s := range st.Servers {
		one, err := readMemory(s.Storage.PID, "RssAnon")
		if err != nil {
			return m, err
		}
		m.plugins += one
	}
	return m, nil
}

// consoleOrigin is what a browser at the other end of ssh -L calls the console.
const consoleOrigin = "http://127.0.0.1:7480"

// consolePage is a browser that is signed in at the console.
type consolePage struct {
	client  *http.Client
	servers string // the path of the first page
}

// openConsole signs in with a new address.
func (h *hosted) openConsole(ctx context.Context) (*consolePage, error) {
	address, err := manager.AskConsole(ctx, h.dataDir())
	if err != nil {
		return nil, err
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(h.dir, "console.sock")
	p := &consolePage{client: &http.Client{Jar: jar, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}}
	_, path, found := strings.Cut(address, "/open/")
	if !found {
		return nil, errors.New("the address of the console has no key")
	}
	text, err := p.get("/open/" + path)
	if err != nil {
		return nil, err
	}
	link := regexp.MustCompile(`href="(/[^/"]+/)">Go to your servers`).FindStringSubmatch(text)
	if link == nil {
		return nil, errors.New("the console does not lead to the servers")
	}
	p.servers = link[1]
	return p, nil
}

func (p *consolePage) get(path string) (string, error) {
	res, err := p.client.Get(consoleOrigin + path)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("the console answers %s", res.Status)
	}
	return string(text), err
}
