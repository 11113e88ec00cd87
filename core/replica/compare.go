package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/exchange"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	// linkWait is how long a comparison waits for the new link. It covers a dial over Tor.
	linkWait = dialTimeout + 30*time.Second
	// compareWait bounds a whole comparison.
	compareWait = 8 * time.Minute
	// compareEvery is the time between two looks at it.
	compareEvery = 100 * time.Millisecond
	// quietTime is how long nothing has passed over a link when a comparison has ended. A
	// plugin does not say when it has, and a round trip over Tor and the sums take seconds.
	quietTime = 10 * time.Second
)

// Comparison is what came of a comparison that the operator asked for. Its JSON form is what the
// command prints. The counts are since it began.
type Comparison struct {
	// Done: nothing is exchanged any more, and the plugin knows of nothing that one side
	// lacks. Otherwise it goes on.
	Done bool `json:"done"`
	// Keys is how many keys were read from the store before; 0: they were not.
	Keys    int     `json:"keys_read,omitempty"`
	Seconds float64 `json:"seconds"`

	New      uint64 `json:"new"`      // envelopes of the peer that were new here
	Known    uint64 `json:"known"`    // that were here
	Refused  uint64 `json:"refused"`  // that were not taken
	Sent     uint64 `json:"sent"`     // envelopes that were sent
	BytesIn  uint64 `json:"bytes_in"` // of frames
	BytesOut uint64 `json:"bytes_out"`

	Link   LinkStatus           `json:"link"`             // in the end
	Report *peersync.PeerReport `json:"report,omitempty"` // of the plugin, about the peer
}

// Compare has the plugin compare the board with that of a peer: it opens the link anew, with
// another secret for sums, which makes every plugin look for what the ends lack. With scrub it
// reads the keys of the store before, so that what the relay believes to have is what it has.
// It waits until nothing is exchanged any more, at most a few minutes.
func (r *Replica) Compare(ctx context.Context, name string, scrub bool) (c Comparison, err error) {
	ctx, cancel := context.WithTimeout(ctx, compareWait)
	defer cancel()
	before, err := r.linkNamed(name)
	if err != nil {
		return c, err
	}
	begin := time.Now()
	if scrub {
		if c.Keys, err = r.rereadKeys(ctx); err != nil {
			return c, fmt.Errorf("read the keys of the store: %w", err)
		}
	}
	if err := r.reconnect(before.Number); err != nil {
		return c, fmt.Errorf("peer %q: %w", name, err)
	}
	if err := r.awaitLink(ctx, name); err != nil {
		return c, err
	}
	if c.Done, err = r.awaitQuiet(ctx, name); err != nil {
		return c, err
	}
	if c.Link, err = r.linkNamed(name); err != nil {
		return c, err
	}
	after := c.Link
	c.Report = r.reportOn(after.Number)
	c.Seconds = time.Since(begin).Seconds()
	c.New, c.Known, c.Refused = after.Stored-before.Stored, after.Known-before.Known, after.Refused-before.Refused
	c.Sent, c.BytesIn, c.BytesOut = after.EnvelopesOut-before.EnvelopesOut, after.BytesIn-before.BytesIn, after.BytesOut-before.BytesOut
	return c, nil
}

// linkNamed returns the link to a peer that is not paused.
func (r *Replica) linkNamed(name string) (LinkStatus, error) {
	for _, l := range r.linkStatuses() {
		switch {
		case l.Name != name:
		case l.State == "paused":
			return l, fmt.Errorf("peer %q is paused: resume it first", name)
		default:
			return l, nil
		}
	}
	return LinkStatus{}, fmt.Errorf("there is no peer %.80q", name)
}

// reportOn returns what the plugin has said last of a peer, or nil.
func (r *Replica) reportOn(peer peersync.Peer) *peersync.PeerReport {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.status.Peers {
		if p.Peer == peer {
			return &p
		}
	}
	return nil
}

// rereadKeys makes the index equal to the keys that the store has now.
func (r *Replica) rereadKeys(ctx context.Context) (keys int, err error) {
	index, ok := storage.As[storage.Index](r.store)
	if !ok {
		return 0, errors.New("this storage plugin cannot list keys: the relay reads its whole log when it starts, so restart it")
	}
	if _, err := r.findIndex(ctx); err != nil {
		return 0, err
	}
	f := r.followed.Load()
	if f == nil {
		return 0, errReading
	}
	if err := f.readKeys(ctx, index); err != nil {
		return 0, err
	}
	return f.index.Len(), nil
}

// reconnect closes the link to a peer and dials anew.
func (r *Replica) reconnect(number peersync.Peer) error {
	r.lockEngine()
	defer r.unlockEngine()
	defer signal(r.poke)
	if !r.open {
		return errors.New("the peersync plugin does not run now; the status says why")
	}
	delete(r.dialErrors, number)
	return r.engine.Reconnect(number)
}

// awaitLink waits until the link to a peer is up, or it is clear that it will not be soon.
func (r *Replica) awaitLink(ctx context.Context, name string) error {
	for begin := time.Now(); ; {
		l, err := r.linkNamed(name)
		switch {
		case err != nil:
			return err
		case l.State == "up":
			return nil
		case l.State == "refused" || r.dialError(l.Number) != "":
			return fmt.Errorf("peer %q: %s", name, l.Reason)
		case time.Since(begin) > linkWait:
			return fmt.Errorf("peer %q: there is no link after %v: %s", name, linkWait, l.Reason)
		}
		if !sleepContext(ctx, compareEvery) {
			return fmt.Errorf("peer %q: wait for a link: %w", name, ctx.Err())
		}
	}
}

// dialError returns why the last attempt to dial a peer has failed.
func (r *Replica) dialError(number peersync.Peer) string {
	r.linksMu.Lock()
	defer r.linksMu.Unlock()
	return r.dialErrors[number]
}

// activity changes with everything that passes over a link, but for what keeps it alive.
type activity struct {
	exchange.PeerStatus
	report peersync.PeerReport
}

func (r *Replica) activityOf(number peersync.Peer) (a activity, up bool) {
	if report := r.reportOn(number); report != nil {
		a.report = *report
	}
	r.lockEngine()
	defer r.unlockQuietly()
	if r.engine != nil {
		a.PeerStatus, _ = r.engine.Status(number)
	}
	up = a.Up
	a.Spent, a.Memory, a.Clock = exchange.Quota{}, 0, 0 // change by themselves
	return a, up
}

// awaitQuiet waits until nothing passes over a link any more. It reports whether that is so, and
// nothing is missing at either end.
func (r *Replica) awaitQuiet(ctx context.Context, name string) (done bool, err error) {
	l, err := r.linkNamed(name)
	if err != nil {
		return false, err
	}
	last, since := activity{}, time.Now()
	for {
		now, up := r.activityOf(l.Number)
		if !up {
			return false, fmt.Errorf("peer %q: the link has ended again: %s", name, now.Reason)
		}
		if now != last {
			last, since = now, time.Now()
		}
		switch quiet := time.Since(since); {
		case quiet >= r.quietTime && now.report.Lacks+now.report.Missing == 0:
			return true, nil
		case quiet >= 3*r.quietTime: // waits for a quota, or for the other end
			return false, nil
		}
		if !sleepContext(ctx, compareEvery) {
			return false, nil
		}
	}
}
