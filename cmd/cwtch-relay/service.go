package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/sdnotify"
)

// What the service manager is asked to wait for.
const (
	startTimeout = 5 * time.Minute // until tor answers; and while stores are opened, again and again
	extendEvery  = time.Minute     // of a start while stores are opened
	stopTimeout  = drainTimeout + 10*time.Second
	// statusEvery is how often it hears of a changed status.
	statusEvery = 2 * time.Second
	// storeWait bounds how long a sign of life waits for the stores.
	storeWait = time.Second
)

// notify tells the service manager something. A failure is logged only.
func (d *daemon) notify(assignments ...string) {
	if err := d.service.Notify(assignments...); err != nil {
		slog.Warn("cannot reach the service manager", "error", err)
	}
}

// reportToServiceManager tells the service manager what the relay of c does, until end is
// called.
//
// The relay is ready when stores are open and tor runs: by then it has found whatever can
// be wrong on this machine. Until the services are published it depends on the Tor network,
// which may take any time. A relay that runs whatever is wrong is ready once ready is called.
func (d *daemon) reportToServiceManager(ctx context.Context, c *manager.Config) (ready, end func()) {
	d.notify(sdnotify.Status("opening stores"))
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	opening, opened := context.WithCancel(ctx)
	wg.Go(func() { d.extendStart(opening) })
	var m *manager.Manager
	c.OnStart = func(starting *manager.Manager) { m = starting }
	beReady := sync.OnceFunc(func() {
		d.notify("READY=1")
		wg.Go(func() { d.feedWatchdog(ctx, m) })
	})
	open := c.Network.Open
	c.Network.Open = func(starting context.Context) (onion.Network, error) {
		opened()
		d.notify(sdnotify.Extend(startTimeout))
		n, err := open(starting)
		if err == nil {
			beReady()
			wg.Go(func() { d.tellStatus(ctx, n) })
		}
		return n, err
	}
	c.OnReload = func() (done func()) {
		d.notify(sdnotify.Reloading()...)
		return func() { d.notify("READY=1") }
	}
	ready = func() {
		opened()
		beReady()
	}
	return ready, func() {
		cancel()
		opened()
		wg.Wait()
	}
}

// extendStart asks the service manager for more time until ctx ends. The manager bounds how long
// stores may take.
func (d *daemon) extendStart(ctx context.Context) {
	tick := time.NewTicker(extendEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.notify(sdnotify.Extend(startTimeout))
		case <-ctx.Done():
			return
		}
	}
}

// tellStatus tells the service manager the state of the network.
func (d *daemon) tellStatus(ctx context.Context, n onion.Network) {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for told := ""; ; {
		if text := describePublication(n.Status()); text != told {
			d.notify(sdnotify.Status(text))
			told = text
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// describePublication is the state of the network, for people.
func describePublication(st onion.Status) string {
	text := fmt.Sprintf("%s is %s", st.Network, st.State)
	if st.State == onion.Bootstrapping {
		text += fmt.Sprintf(", %d %% (%s)", st.Progress, st.Summary)
	}
	return fmt.Sprintf("%s, %d of %s published", text, countPublished(st), command.CountOf(len(st.Services), "service"))
}

// feedWatchdog sends a sign of life whenever the manager, the network and every server
// have told their status and no board leaves posts in its queue. It does not wait for a
// store that hangs. It needs no file descriptor: strangers may have taken all of them.
func (d *daemon) feedWatchdog(ctx context.Context, m *manager.Manager) {
	every := d.service.Watchdog() / 2
	if every <= 0 {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if stalled := stalledServer(ctx, m, min(every/2, storeWait)); stalled == "" {
			d.notify("WATCHDOG=1")
		} else {
			slog.Error("posts are not taken from their queue, which is a defect of the relay, please report it", "server", stalled)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// stalledServer returns the name of a server that leaves its posts in the queue, or "".
func stalledServer(ctx context.Context, m *manager.Manager, wait time.Duration) string {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for _, s := range m.Status(ctx).Servers {
		if s.Relay != nil && s.Relay.Stalled {
			return s.Name
		}
	}
	return ""
}
