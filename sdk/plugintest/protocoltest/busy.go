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
	{"ProtocolHealth", "Health answers within a second", (*fixture).checkHealth},
	{"ProtocolHealthBusy", "Health answers while everything else is busy", (*fixture).checkHealthWhileBusy},
	{"ProtocolEight", "eight calls are served at the same time", (*fixture).checkEightCalls},
	{"ProtocolDrain", "after Drain, calls of the kind fail with UNAVAILABLE", (*fixture).checkDrain},
	{"ProtocolDrainWaits", "Drain answers once no call is under way", (*fixture).checkDrainWaits},
}

// minConcurrency is the number of calls that a plugin has to serve at the same time.
const minConcurrency = 8

// maxHealthTime bounds Health on a machine that is idle for a moment.
const maxHealthTime = time.Second

func (f *fixture) checkHealth() {
	f.skipTimingIfAttached()
	p := f.openPlugin(f.root)
	best := host.HealthTimeout
	for range 3 {
		h, took, err := f.askHealth(p)
		if err != nil {
			f.Fatalf("%v", err)
		}
		if h.State == host.Failed {
			f.Fatalf("Health says FAILED: %s", h.Reason)
		}
		if best = min(best, took); best < maxHealthTime {
			return
		}
	}
	f.Errorf("Health took at least %v in three tries; the relay asks every five seconds and kills the process after %v", best.Round(time.Millisecond), host.HealthTimeout)
}

// skipTimingIfAttached skips a check that measures time.
func (f *fixture) skipTimingIfAttached() {
	if f.opener.Attach != nil {
		f.Skip("the plugin was started by hand and may stand at a breakpoint")
	}
}

// callDelay is more than enough for a call to reach the plugin.
const callDelay = 250 * time.Millisecond

// load is a number of goroutines that make calls until they are stopped.
type load struct {
	stop    context.CancelFunc // lets no further call begin
	running sync.WaitGroup
}

// startLoad makes calls from n goroutines and returns when they are under way.
func (f *fixture) startLoad(p process, n int) *load {
	ctx, cancel := context.WithCancel(f.Context())
	w := &load{stop: cancel}
	for range n {
		w.running.Go(func() {
			for ctx.Err() == nil {
				if err := f.kind.largeCall(f.Context()); err != nil && ctx.Err() == nil {
					if !f.kind.isUnavailable(err) {
						f.Errorf("a call under load: %v", err)
					}
					return
				}
			}
		})
	}
	waitFor(callDelay, p.Exited())
	return w
}

func (w *load) stopAndWait() {
	w.stop()
	w.running.Wait()
}

// maxBusyHealthTime bounds Health under load: half of what a relay allows.
const maxBusyHealthTime = host.HealthTimeout / 2

func (f *fixture) checkHealthWhileBusy() {
	f.skipTimingIfAttached()
	p := f.openPlugin(f.root)
	h, err := f.kind.holdCall(f.Context())
	if err == nil {
		defer h.release()
	}
	if f.description.Kind != plugin.KindPeerSync { // it gets one call at a time
		w := f.startLoad(p, minConcurrency-2) // eight with the held call and Health
		defer w.stopAndWait()
	}
	for range 3 {
		h, took, err := f.askHealth(p)
		switch {
		case err != nil:
			f.Fatalf("%v, after %v", err, took.Round(time.Millisecond))
		case h.State == host.Failed:
			f.Fatalf("Health says FAILED: %s", h.Reason)
		case took > maxBusyHealthTime:
			f.Fatalf("Health took %v; the relay kills the process after %v", took.Round(time.Millisecond), host.HealthTimeout)
		}
	}
}

// checkEightCalls makes a call while seven others wait.
func (f *fixture) checkEightCalls() {
	p := f.openPlugin(f.root)
	if f.description.Kind == plugin.KindPeerSync {
		f.Skip("a peersync plugin gets one call of its kind at a time")
	}
	for range minConcurrency - 1 {
		h, err := f.kind.holdCall(f.Context())
		if errors.Is(err, errCannotHold) {
			f.Skip(err.Error())
		}
		if err != nil {
			f.Fatalf("%v", err)
		}
		defer h.release()
		if waitFor(time.Millisecond, h.done) {
			f.Fatal("a call that should wait has ended")
		}
	}
	ctx, cancel := context.WithTimeout(f.Context(), maxBusyHealthTime)
	defer cancel()
	if err := f.kind.smallCall(ctx); err != nil {
		f.Errorf("while seven calls wait, the eighth is not answered: %v", err)
	}
	if _, _, err := f.askHealth(p); err != nil {
		f.Errorf("while seven calls wait: %v", err)
	}
}

func (f *fixture) checkDrain() {
	p := f.openPlugin(f.root)
	f.requireServing(p)
	if err := f.drainPlugin(p); err != nil {
		f.Fatalf("%v", err)
	}
	f.expectUnavailable(p, "after Drain")
}

func (f *fixture) drainPlugin(p process) error {
	ctx, cancel := context.WithTimeout(f.Context(), host.EndTimeout)
	defer cancel()
	return p.Client().Drain(ctx)
}

func (f *fixture) checkDrainWaits() {
	p := f.openPlugin(f.root)
	drain := func() {
		if err := f.drainPlugin(p); err != nil {
			f.Errorf("%v", err)
		}
	}
	if f.description.Kind == plugin.KindPeerSync {
		f.expectWaitForHeldCall("Drain", drain)
		return
	}
	h, err := f.kind.holdCall(f.Context()) // Drain ends calls that only wait
	if err == nil {
		defer h.release()
	}
	f.expectWaitForLoad(p, "Drain", drain)
	if err == nil && !waitFor(grace, h.done) {
		f.Error("Drain was answered, but a Watch still waits")
	}
}

// expectWaitForHeldCall expects do to return only after a held call has ended.
func (f *fixture) expectWaitForHeldCall(what string, do func()) {
	f.Helper()
	h, err := f.kind.holdCall(f.Context())
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
	if waitFor(observeTime/2, done) {
		f.Errorf("%s was answered while a call was under way", what)
	}
	h.release()
	<-done
}

// expectWaitForLoad expects all calls under way to have ended when do returns.
func (f *fixture) expectWaitForLoad(p process, what string, do func()) {
	f.Helper()
	w := f.startLoad(p, 4)
	defer w.stopAndWait()
	w.stop() // calls under way go on
	waitFor(callDelay, p.Exited())
	do()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.running.Wait()
	}()
	if !waitFor(grace, ended) {
		f.Errorf("%s was answered, but a call is still under way %v later", what, grace)
	}
}
