// Package mesh is the peer-sync plugin that comes with the relay. It keeps the boards of up to a
// few dozen relays equal that all have links to each other, or to some of the others. The relay
// starts [Plugin].
//
// # Tail
//
// Each relay follows its own log, from a cursor for each peer. What a client has posted here while
// a peer is connected is pushed to that peer at once. Everything else in the log is offered: after
// one to two seconds, because in a mesh most of it arrives there on another link meanwhile. Nothing
// is sent to a peer that it came from, or that has sent it as well.
// The cursor moves over what the peer's relay says it has stored, knows, or does not want. So a
// link that breaks, a relay that is off for days and a process that is killed continue where they
// stopped. What is beyond the quota of the peer is offered again when the peer said it may.
//
// # Repair
//
// A tail cannot tell what two relays lost or gained in another way. So one of the two ends, the
// initiator of the link, compares both boards: when the link comes up, and then every 15 minutes,
// half as much more or less. It divides the keys into windows of equal count, and sends a keyed
// fingerprint of each, about 20 bytes. Each window that differs becomes a session of Negentropy
// V1, which finds the ids that only one end has: those of the initiator are offered, the others
// requested. If the boards are equal, a repair of 100 000 envelopes costs less than 400 bytes.
// The answering end keeps nothing between two messages of a session.
//
// Two relays may have accepted one envelope in different hours. Where a bound lies between the two
// keys, a repair finds it at both ends. Each end then offers it to the other one, so that both take
// the earlier hour, and no body moves. Elsewhere the hours differ without being a difference.
//
// A repair covers the envelopes above the higher of the two floors. The present hour and the
// one before belong to the tail, because a comparison would find what is just on its way.
//
// Where there is no cursor that is of use, the tail begins at the end of the log, and the next
// repair covers everything: at the first contact, and after either relay got another epoch.
//
// # Copy
//
// A window of which one end has less than a twentieth needs no comparison: the end that has more
// offers all of it, in the order of keys. A copy needs no cursor. When it is cut off, the next
// repair finds the windows that were copied equal, and goes on with the others. Copies and what a
// repair found may take half of what can be under way to a peer, so there is always room for the
// tail; and the relay sends what is pushed first.
//
// # An operator's wish
//
// To have boards compared now, an operator lets the relay close the link; a repair follows when
// it is up again. To have everything checked from the ground, the relay reads the keys of its store
// anew before. A new link has a new secret for its sums, so each repair of another link
// is independent of what the ones before overlooked. The plugin needs no command for either.
//
// # Hostile peers
//
// A peer may withhold what it has, and nobody can prove it. What else it may cost is bounded. Its
// messages are decoded strictly; what breaks the protocol closes the link. Messages of repairs are
// answered at [workRate], and more than a few that wait close the link as well. A comparison has at
// most [maxWindows] windows, four sessions at a time, each of at most eight rounds. Differences
// that are not there cost one offer or request each, and no second repair before the usual time.
// A peer takes at most 9 MiB of memory here, and an honest one much less: it is for messages that
// wait, and for ids that a repair has found.
//
// # Who learns what
//
// A peer learns when an envelope came to this relay, and mostly whether from a client. Whoever is
// connected to this board as a client learns as much. So by default nothing is delayed; see the
// option delay for when that is wrong. A comparison of everything shows what the delay still
// holds back.
package mesh

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Version is the version of the plugin.
const Version = "1.0.0"

// maxDelay is the greatest value of the option delay.
const maxDelay = time.Hour

// Plugin is the replicator as a plugin.
func Plugin() plugin.Plugin {
	least, most := int64(0), int64(maxDelay)
	return plugin.Plugin{
		Name:    "mesh",
		Version: Version,
		Doc:     "Keeps the boards of relays equal that have links to each other.",
		Schema: plugin.Schema{Attributes: []plugin.Attribute{{
			Name:    "delay",
			Type:    plugin.Duration,
			Default: "0s",
			Min:     &least,
			Max:     &most,
			Doc: "How long what clients post here is collected before it is sent to other relays, in random order; up to twice as long, drawn each time. " +
				"With 0 it is sent at once. Operators of other relays then see the moment and the order in which messages were posted, but so does everybody who " +
				"is connected to this board as a client. A delay makes sense if the address of the board is known to fewer people than those of the other relays. " +
				"It does not hold back what a comparison of everything finds. The first link to a peer begins with one, and the relay of a peer can ask for one " +
				"each minute. So it hides the moment and the order only from peers whose relays run mesh as it is.",
		}}},
		PeerSync: func(_ context.Context, cfg plugin.Config, host peersync.HostServices) (peersync.Replicator, error) {
			var options struct {
				Delay time.Duration `cty:"delay"`
			}
			if err := cfg.Decode(&options); err != nil {
				return nil, err
			}
			return newReplicator(host, options.Delay), nil
		},
	}
}

// never is a time that does not come.
const never = time.Duration(1<<63 - 1)

// replicator is one mesh on one relay.
type replicator struct {
	host  peersync.HostServices
	delay time.Duration

	now   time.Duration
	hour  storage.Hour
	state peersync.State // of the own board
	rng   *rand.Rand

	configured []peersync.Peer // ascending
	peers      []*peer         // that are up, ascending

	pages   pageCache
	cursors cursorStore
	report  reporter
	more    bool          // a step was left for the next Handle
	wakeAt  time.Duration // what the relay was asked for
}

func newReplicator(host peersync.HostServices, delay time.Duration) *replicator {
	return &replicator{host: host, delay: delay, wakeAt: never}
}

// Handle notes what has happened, and then does whatever is possible now. What fails is tried
// again with a later event, so it returns no error of the host, except that ctx has ended.
func (r *replicator) Handle(ctx context.Context, events []peersync.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, e := range events {
		r.noteEvent(e)
	}
	r.doWork(ctx)
	return ctx.Err()
}

func (r *replicator) Close() error { return nil }

func (r *replicator) noteEvent(e peersync.Event) {
	switch e := e.(type) {
	case peersync.Start:
		r.state, r.hour = e.State, e.Hour
		r.rng = rand.New(rand.NewChaCha8(e.Seed))
		r.setConfigured(e.Peers)
	case peersync.PeersChanged:
		r.setConfigured(e.Peers)
	case peersync.LogAdvanced:
		r.noteState(e.State)
	case peersync.Tick:
		r.noteTime(e)
	case peersync.PeerUp:
		r.noteDown(e.Peer)
		at, _ := slices.BinarySearchFunc(r.peers, e.Peer, (*peer).compareNumber)
		r.peers = slices.Insert(r.peers, at, r.newPeer(e))
	case peersync.PeerDown:
		r.noteDown(e.Peer)
	case peersync.PeerMoved:
		if p := r.findPeer(e.Peer); p != nil {
			r.notePeerState(p, e.State)
		}
	case peersync.PeerReady:
		if p := r.findPeer(e.Peer); p != nil {
			p.noteReady(r.now)
		}
	case peersync.PeerMessage:
		if p := r.findPeer(e.Peer); p != nil {
			r.noteMessage(p, e.Data)
		}
	case peersync.Sent:
		if p := r.findPeer(e.Peer); p != nil {
			r.noteSent(p, e)
		}
	case peersync.Received:
		if p := r.findPeer(e.Peer); p != nil {
			r.noteReceived(p, e)
		}
	}
}

func (r *replicator) setConfigured(peers []peersync.Peer) {
	r.configured = slices.Clone(peers)
	r.cursors.tidied = false
}

func (r *replicator) noteTime(e peersync.Tick) {
	r.hour = e.Hour
	r.now = max(r.now, e.Now)
	if r.wakeAt <= r.now {
		r.wakeAt = never
	}
}

// noteState notes the state of the own board. In another epoch nothing is known of what peers have.
func (r *replicator) noteState(s peersync.State) {
	renewed := s.Epoch != r.state.Epoch
	r.state = s
	for _, p := range r.peers {
		if renewed {
			r.loseTrack(p)
			continue
		}
		p.tail.atEnd = false
	}
}

func (r *replicator) findPeer(number peersync.Peer) *peer {
	if at, found := slices.BinarySearchFunc(r.peers, number, (*peer).compareNumber); found {
		return r.peers[at]
	}
	return nil
}

func (p *peer) compareNumber(number peersync.Peer) int { return cmp.Compare(p.number, number) }

func (r *replicator) noteDown(number peersync.Peer) {
	if p := r.findPeer(number); p != nil {
		r.cursors.note(r, p)
		r.peers = slices.DeleteFunc(r.peers, func(other *peer) bool { return other == p })
	}
}

// doWork does what is possible now: first what is live, at all peers.
func (r *replicator) doWork(ctx context.Context) {
	r.more, r.pages.valid = false, false
	for _, p := range r.peers {
		r.dropIfBroken(ctx, p)
		r.followLog(ctx, p)
	}
	for _, p := range r.peers {
		r.serveTwin(ctx, p)
		r.repairPeer(ctx, p)
		r.catchUp(ctx, p)
		r.dropIfBroken(ctx, p)
	}
	r.cursors.save(ctx, r)
	r.report.update(ctx, r)
	r.askForWake(ctx)
}

// dropIfBroken closes the link to a peer that has broken the protocol.
func (r *replicator) dropIfBroken(ctx context.Context, p *peer) {
	if p.breach != "" && !p.dropped {
		p.dropped = r.host.Drop(ctx, p.number, p.breach) == nil
	}
}

// askForWake asks for a Tick when there is something to do before the next one.
func (r *replicator) askForWake(ctx context.Context) {
	due := never
	if r.more {
		due = r.now
	}
	for _, p := range r.peers {
		if p.isUsable() {
			due = min(due, p.tail.nextDue(p))
		}
	}
	if due == never || due >= r.wakeAt && r.wakeAt > r.now {
		return
	}
	due = max(due, r.now)
	if r.host.Wake(ctx, min(due-r.now, peersync.MaxWake)) == nil {
		r.wakeAt = due
	}
}
