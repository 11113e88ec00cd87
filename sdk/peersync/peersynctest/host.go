package peersynctest

import (
	"errors"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

var hostChecks = []check{
	{"HostErrors", "Errors of the host are no reason for that, but a part of life", (*fixture).hostErrors},
	{"Live", "Its methods are called from within Handle only, one at a time", (*fixture).checkLives},
}

// hostErrors has the host refuse calls, every one for a while and then one in a
// few, with each of the errors that it may have.
func (f *fixture) hostErrors() {
	for i, refusal := range []error{
		peersync.ErrUnavailable, peersync.ErrBusy, peersync.ErrPeerUnknown, errors.New("something else"),
	} {
		f.beginWorld(uint64(i), 2)
		refuse := func(one int) {
			for _, r := range f.world.Replicas {
				n := 0
				r.Refuse = func(string) error {
					if n++; n%one == 0 {
						return refusal
					}
					return nil
				}
			}
		}
		refuse(1)
		for at := range f.opened {
			f.world.Start(at, f.opened[at].Replicator)
		}
		f.connectAll()
		f.world.Post(0, 10)
		f.runTicks(2)
		for one := range 4 {
			refuse(one + 2)
			f.runLife(20)
		}
		for _, r := range f.world.Replicas {
			r.Refuse = nil
		}
		f.runTicks(2)
		for at := range f.opened {
			f.closeAt(at)
		}
	}
}

// checkLives lets replicators live for a while; what they must not do is noted by the
// world.
func (f *fixture) checkLives() {
	for seed := range uint64(2) {
		f.beginLive(seed, 2+int(seed%2))
		f.runLife(80)
		f.restartAt(0)
		f.runLife(40)
		f.connectAll()
		f.runTicks(3)
		for at := range f.opened {
			f.closeAt(at)
		}
	}
}
