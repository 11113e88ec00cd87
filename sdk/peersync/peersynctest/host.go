package peersynctest

import (
	"errors"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

var hostChecks = []check{
	{"HostErrors", "Errors of the host are normal, and no reason for Handle to fail", (*fixture).checkHostErrors},
	{"Live", "Its methods are called only within Handle, one at a time and with its context", (*fixture).checkLive},
}

// checkHostErrors has the host refuse calls with each of its errors: first every call, then one in
// a few, and then all that are for one peer.
func (f *fixture) checkHostErrors() {
	for i, refusal := range []error{
		peersync.ErrUnavailable, peersync.ErrBusy, peersync.ErrPeerUnknown, errors.New("something else"),
	} {
		f.newWorld(uint64(i), 3)
		for _, r := range f.world.Replicas {
			r.Refuse = refuseSome(1, refusal)
		}
		for at := range f.opened {
			f.world.Start(at, f.opened[at].Replicator)
		}
		f.connectAll()
		f.world.Post(0, 10)
		f.runTicks(2)
		for one := range 4 {
			for _, r := range f.world.Replicas {
				r.Refuse = refuseSome(one+2, refusal)
			}
			f.runRandomSteps(20)
		}
		refused := f.peer(1)
		f.world.Replicas[0].Refuse = func(_ string, peer peersync.Peer) error {
			if peer == refused {
				return refusal
			}
			return nil
		}
		f.connectAll()
		f.runRandomSteps(20)
		for _, r := range f.world.Replicas {
			r.Refuse = nil
		}
		f.runTicks(2)
		for at := range f.opened {
			f.closeAt(at)
		}
	}
}

// checkLive runs replicators for a while. The world records what they must not do.
func (f *fixture) checkLive() {
	for seed := range uint64(2) {
		f.newConnectedWorld(seed, 2+int(seed%2))
		f.world.Replicas[1].SetTerms(0, Terms{Quota: 20, QuotaTime: time.Minute})
		f.world.SetLine(0, 1, Line{Latency: time.Second, Bandwidth: 100_000, Corrupt: 20})
		f.runRandomSteps(80)
		f.restartAt(0)
		f.runRandomSteps(40)
		f.connectAll()
		f.runTicks(3)
		for at := range f.opened {
			f.closeAt(at)
		}
	}
}
