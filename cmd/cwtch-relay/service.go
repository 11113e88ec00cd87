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
	startTimeout = 5 * time.Minute // until the stores are open and tor answers
	stopTimeout  = drainTimeout + 10*time.Second
	// statusEvery is between two looks at what to tell it.
	statusEvery = 2 * time.Second
	// storeWait is how long a sign of life may wait for the stores.
	storeWait = time.Second
)

// notify tells the service manager, which is not worth an end.
func (d *daemon) notify(assignments ...string) {
	if err := d.service.Notify(assignments...); err != nil {
		slog.Warn("cannot reach the service manager", "error", err)
	}
}

// watch tells the service manager what the relay of c does, until it is ended.
//
// The relay is ready once all that can be wrong on this machine has been found:
// when stores are open and tor runs. What comes then, until the services are
// published, is up to the Tor network and may take any time.
func (d *daemon) watch(ctx context.Context, c *manager.Config) (end func()) {
	d.notify(sdnotify.Status("opening stores"))
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var m *manager.Manager
	c.OnStart = func(starting *manager.Manager) { m = starting }
	open := c.Network.Open
	c.Network.Open = func(opening context.Context) (onion.Network, error) {
		n, err := open(opening)
		if err == nil {
			d.notify("READY=1", sdnotify.Status(publication(n.Status())))
			wg.Go(func() { d.tellStatus(ctx, n) })
			wg.Go(func() { d.feedWatchdog(ctx, m) })
		}
		return n, err
	}
	c.OnReload = func() (done func()) {
		d.notify(sdnotify.Reloading()...)
		return func() { d.notify("READY=1") }
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// tellStatus tells the service manager how far the network is.
func (d *daemon) tellStatus(ctx context.Context, n onion.Network) {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for told := ""; ; {
		if text := publication(n.Status()); text != told {
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

// publication is how far the network is, for people.
func publication(st onion.Status) string {
	published := 0
	for _, s := range st.Services {
		if s.Published {
			published++
		}
	}
	text := fmt.Sprintf("%s is %s", st.Network, st.State)
	if st.State == onion.Bootstrapping {
		text += fmt.Sprintf(", %d %% (%s)", st.Progress, st.Summary)
	}
	return fmt.Sprintf("%s, %d of %s published", text, published, command.CountOf(len(st.Services), "service"))
}

// feedWatchdog gives signs of life, each after the relay has told its status: the
// manager, the network and every server have answered, and posts do not pile up
// before a board. A store that does not answer is not waited for. It takes no file
// descriptor, of which strangers may have taken all.
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

// stalledServer is the name of a server that does nothing with its posts, if one is.
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
