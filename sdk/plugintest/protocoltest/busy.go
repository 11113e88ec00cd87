package protocoltest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

var busyChecks = []check{
	{"ProtocolHealth", "Health answers within a second", (*fixture).healthIsQuick},
	{"ProtocolHealthBusy", "Health answers while all else is busy", (*fixture).healthWhileBusy},
	{"ProtocolEight", "eight calls are served at once", (*fixture).eightAtOnce},
	{"ProtocolDrain", "after Drain calls of the kind fail with UNAVAILABLE", (*fixture).drains},
	{"ProtocolDrainWaits", "Drain answers when no call is under way", (*fixture).drainWaits},
}

// atOnce is how many calls a plugin serves at the same time, at least.
const atOnce = 8

// quick is what "at once" means for an answer, on a machine that has nothing else
// to do for a moment.
const quick = time.Second

func (f *fixture) healthIsQuick() {
	f.notByHand()
	p := f.open(f.root)
	best := host.HealthTimeout
	for range 3 {
		h, took, err := f.health(p)
		if err != nil {
			f.Fatalf("%v", err)
		}
		if h.State == host.Failed {
			f.Fatalf("Health says FAILED: %s", h.Reason)
		}
		if best = min(best, took); best < quick {
			return
		}
	}
	f.Errorf("Health took %v at best; the relay asks every five seconds, and kills the process after %v", best.Round(time.Millisecond), host.HealthTimeout)
}

// notByHand skips what goes by the clock.
func (f *fixture) notByHand() {
	if f.opener.Attach != nil {
		f.Skip("the plugin was started by hand, and may stand at a breakpoint")
	}
}

// onTheWay is longer than a call takes from a worker to the plugin.
const onTheWay = 250 * time.Millisecond

// workers make calls until they are stopped.
type workers struct {
	stop context.CancelFunc // begin no other call
	wait sync.WaitGroup
}

// work makes calls from n goroutines, and returns when they are under way.
func (f *fixture) work(p process, n int) *workers {
	ctx, cancel := context.WithCancel(f.Context())
	w := &workers{stop: cancel}
	for range n {
		w.wait.Go(func() {
			for ctx.Err() == nil {
				if err := f.kind.load(f.Context()); err != nil && ctx.Err() == nil {
					if !f.kind.unavailable(err) {
						f.Errorf("a call under load: %v", err)
					}
					return
				}
			}
		})
	}
	within(onTheWay, p.Exited())
	return w
}

func (w *workers) end() {
	w.stop()
	w.wait.Wait()
}

// patience is how long Health may take under load: half of what it has with the relay.
const patience = host.HealthTimeout / 2

func (f *fixture) healthWhileBusy() {
	f.notByHand()
	p := f.open(f.root)
	h, err := f.kind.hold(f.Context())
	if err == nil {
		defer h.release()
	}
	if f.description.Kind != plugin.KindPeerSync { // which takes one call at a time
		w := f.work(p, atOnce-2) // with the one that is held, and Health, eight
		defer w.end()
	}
	for range 3 {
		h, took, err := f.health(p)
		switch {
		case err != nil:
			f.Fatalf("%v, after %v", err, took.Round(time.Millisecond))
		case h.State == host.Failed:
			f.Fatalf("Health says FAILED: %s", h.Reason)
		case took > patience:
			f.Fatalf("Health took %v; the relay kills the process after %v", took.Round(time.Millisecond), host.HealthTimeout)
		}
	}
}

// eightAtOnce lets seven calls wait.
func (f *fixture) eightAtOnce() {
	p := f.open(f.root)
	if f.description.Kind == plugin.KindPeerSync {
		f.Skip("a peersync plugin gets one call of its kind at a time")
	}
	for range atOnce - 1 {
		h, err := f.kind.hold(f.Context())
		if errors.Is(err, errCannotHold) {
			f.Skip(err.Error())
		}
		if err != nil {
			f.Fatalf("%v", err)
		}
		defer h.release()
		if within(time.Millisecond, h.done) {
			f.Fatal("a call that should wait has ended")
		}
	}
	ctx, cancel := context.WithTimeout(f.Context(), patience)
	defer cancel()
	if err := f.kind.call(ctx); err != nil {
		f.Errorf("while seven calls wait the eighth is not answered: %v", err)
	}
	if _, _, err := f.health(p); err != nil {
		f.Errorf("while seven calls wait: %v", err)
	}
}

func (f *fixture) drains() {
	p := f.open(f.root)
	f.serves(p)
	if err := f.drain(p); err != nil {
		f.Fatalf("%v", err)
	}
	f.refuses(p, "after Drain")
}

func (f *fixture) drain(p process) error {
	ctx, cancel := context.WithTimeout(f.Context(), host.EndTimeout)
	defer cancel()
	return p.Client().Drain(ctx)
}

func (f *fixture) drainWaits() {
	p := f.open(f.root)
	drain := func() {
		if err := f.drain(p); err != nil {
			f.Errorf("%v", err)
		}
	}
	if f.description.Kind == plugin.KindPeerSync {
		f.waitsForHeld("Drain", drain)
		return
	}
	h, err := f.kind.hold(f.Context()) // what only waits is ended
	if err == nil {
		defer h.release()
	}
	f.waitsForLoad(p, "Drain", drain)
	if err == nil && !within(grace, h.done) {
		f.Error("Drain was answered, and a Watch waits on")
	}
}

// waitsForHeld checks that do returns when a call that is held has ended, and not
// before.
func (f *fixture) waitsForHeld(what string, do func()) {
	f.Helper()
	h, err := f.kind.hold(f.Context())
	if errors.Is(err, errCannotHold) {
		f.Skip(err.Error())
	}
	if err != nil {
		f.Fatalf("%v", err)
	}
	defer h.release()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	if within(lingers/2, done) {
		f.Errorf("%s was answered while a call was under way", what)
	}
	h.release()
	<-done
}

// waitsForLoad checks that no answer comes after that of do but those that were
// on their way with it.
func (f *fixture) waitsForLoad(p process, what string, do func()) {
	f.Helper()
	w := f.work(p, 4)
	defer w.end()
	w.stop() // those under way go on
	within(onTheWay, p.Exited())
	do()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.wait.Wait()
	}()
	if !within(grace, ended) {
		f.Errorf("%s was answered, and a call is under way %v later", what, grace)
	}
}
