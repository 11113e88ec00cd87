package protocoltest

import (
	"context"
	"strings"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

var endChecks = []check{
	{"ProtocolShutdown", "Shutdown closes what is open: no call is served after it, and another process can open the directory", (*fixture).shutsDown},
	{"ProtocolEnd", "Drain, Shutdown and the end take less than 10 s together, and the exit status is 0", (*fixture).ends},
	{"ProtocolLifeline", "when the lifeline ends and nothing else was said, the process ends within 10 s, with exit status 0", (*fixture).lifeline},
	{"ProtocolListeners", "a listener is not shut down", (*fixture).listensOn},
}

// shutDown ends a process as a relay does, and says nothing of how it does.
func (f *fixture) shutDown(p process) {
	f.Helper()
	f.expectEnd(p)
	ctx, cancel := context.WithTimeout(context.Background(), host.EndTimeout)
	defer cancel()
	client := p.Client()
	if err := client.Drain(ctx); err == nil {
		client.Shutdown(ctx) //nolint:errcheck // for another check
	}
	quick, cancel := context.WithTimeout(ctx, lingers)
	defer cancel()
	p.Stop(quick)
}

func (f *fixture) shutsDown() {
	p := f.open(f.root)
	if err := f.kind.load(f.Context()); err != nil {
		f.Fatalf("%v", err)
	}
	ctx, cancel := context.WithTimeout(f.Context(), host.EndTimeout)
	defer cancel()
	if err := p.Client().Shutdown(ctx); err != nil {
		f.Fatalf("%v", err)
	}
	if err := f.kind.call(f.Context()); err == nil {
		f.Error("after Shutdown a call was served")
	}
	f.lives(p) // its lifeline has not ended
	if f.opener.Attach == nil {
		f.open(f.root)
	}
}

func (f *fixture) ends() {
	f.onlyProcess()
	p := f.open(f.root)
	if err := f.kind.load(f.Context()); err != nil {
		f.Fatalf("%v", err)
	}
	f.expectEnd(p)
	ctx, cancel := context.WithTimeout(f.Context(), host.EndTimeout)
	defer cancel()
	begin, client := time.Now(), p.Client()
	if err := client.Drain(ctx); err != nil {
		f.Fatalf("%v, after %v", err, since(begin))
	}
	if err := client.Shutdown(ctx); err != nil {
		f.Fatalf("%v, after %v", err, since(begin))
	}
	p.Stop(ctx)
	f.hasEnded(p, begin)
}

func since(begin time.Time) time.Duration { return time.Since(begin).Round(time.Millisecond) }

// hasEnded checks how a process ended that was stopped.
func (f *fixture) hasEnded(p process, begin time.Time) {
	f.Helper()
	switch reason := p.ExitReason(); {
	case time.Since(begin) >= host.EndTimeout:
		f.Errorf("the process did not end within %v, and was killed", host.EndTimeout)
	case !strings.HasPrefix(reason, "exit status 0"):
		f.Errorf("the process ended with %s", reason)
	}
}

// lifeline ends it as the kernel does when the relay is killed: before Configure,
// and with calls under way.
func (f *fixture) lifeline() {
	f.onlyProcess()
	f.stops(f.begin())
	if f.Failed() {
		return
	}
	p := f.open(f.root)
	if h, err := f.kind.hold(f.Context()); err == nil && f.description.Kind != plugin.KindPeerSync {
		defer h.release()
	} else if err == nil {
		h.release()
		<-h.done
	}
	f.stops(p)
}

func (f *fixture) stops(p process) {
	f.Helper()
	f.expectEnd(p)
	begin := time.Now()
	ctx, cancel := context.WithTimeout(f.Context(), host.EndTimeout)
	defer cancel()
	p.Stop(ctx)
	f.hasEnded(p, begin)
}

func (f *fixture) listensOn() {
	f.onlyProcess()
	p := f.open(f.root)
	if len(f.listeners) == 0 {
		f.Skip("the configuration has no listener; give one with -config")
	}
	f.shutDown(p)
	for _, l := range f.listeners {
		if !l.Open() {
			f.Errorf("after the end of the process nobody listens at %s: close the descriptor, and do not shut the socket down", l.Address)
		}
	}
}
