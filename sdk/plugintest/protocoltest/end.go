package protocoltest

import (
	"context"
	"strings"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

var endChecks = []check{
	{"ProtocolShutdown", "after Shutdown everything is closed: no call is served, and another process can open the directory", (*fixture).checkShutdown},
	{"ProtocolEnd", "Drain, Shutdown and the end of the process take less than 10 s together, and the exit status is 0", (*fixture).checkEnd},
	{"ProtocolLifeline", "when the lifeline ends without Drain and Shutdown, the process ends within 10 s with exit status 0", (*fixture).checkLifeline},
	{"ProtocolListeners", "the plugin does not shut a listener down", (*fixture).checkListeners},
}

// shutDownPlugin ends a process as a relay does. How it ends is left to other checks.
func (f *fixture) shutDownPlugin(p process) {
	f.Helper()
	f.expectEnd(p)
	ctx, cancel := context.WithTimeout(context.Background(), host.EndTimeout)
	defer cancel()
	client := p.Client()
	if err := client.Drain(ctx); err == nil {
		client.Shutdown(ctx) //nolint:errcheck // left to another check
	}
	quick, cancel := context.WithTimeout(ctx, observeTime)
	defer cancel()
	p.Stop(quick)
}

func (f *fixture) checkShutdown() {
	p := f.openPlugin(f.root)
	if err := f.kind.largeCall(f.Context()); err != nil {
		f.Fatalf("%v", err)
	}
	ctx, cancel := context.WithTimeout(f.Context(), host.EndTimeout)
	defer cancel()
	if err := p.Client().Shutdown(ctx); err != nil {
		f.Fatalf("%v", err)
	}
	if err := f.kind.smallCall(f.Context()); err == nil {
		f.Error("after Shutdown, a call was served")
	}
	f.requireAlive(p) // its lifeline is still open
	if f.opener.Attach == nil {
		f.openPlugin(f.root)
	}
}

func (f *fixture) checkEnd() {
	f.skipIfAttached()
	p := f.openPlugin(f.root)
	if err := f.kind.largeCall(f.Context()); err != nil {
		f.Fatalf("%v", err)
	}
	f.expectEnd(p)
	ctx, cancel := context.WithTimeout(f.Context(), host.EndTimeout)
	defer cancel()
	begin, client := time.Now(), p.Client()
	if err := client.Drain(ctx); err != nil {
		f.Fatalf("%v, after %v", err, elapsedSince(begin))
	}
	if err := client.Shutdown(ctx); err != nil {
		f.Fatalf("%v, after %v", err, elapsedSince(begin))
	}
	p.Stop(ctx)
	f.expectCleanEnd(p, begin)
}

func elapsedSince(begin time.Time) time.Duration { return time.Since(begin).Round(time.Millisecond) }

// expectCleanEnd expects a stopped process to have ended in time with status 0.
func (f *fixture) expectCleanEnd(p process, begin time.Time) {
	f.Helper()
	switch reason := p.ExitReason(); {
	case time.Since(begin) >= host.EndTimeout:
		f.Errorf("the process did not end within %v and was killed", host.EndTimeout)
	case !strings.HasPrefix(reason, "exit status 0"):
		f.Errorf("the process ended with %s", reason)
	}
}

// checkLifeline ends the lifeline as the kernel does when the relay is killed: once before
// Configure, and once with a call under way.
func (f *fixture) checkLifeline() {
	f.skipIfAttached()
	f.expectEndByLifeline(f.startAndDescribe())
	if f.Failed() {
		return
	}
	p := f.openPlugin(f.root)
	if h, err := f.kind.holdCall(f.Context()); err == nil && f.description.Kind != plugin.KindPeerSync {
		defer h.release()
	} else if err == nil {
		h.release()
		<-h.done
	}
	f.expectEndByLifeline(p)
}

func (f *fixture) expectEndByLifeline(p process) {
	f.Helper()
	f.expectEnd(p)
	begin := time.Now()
	ctx, cancel := context.WithTimeout(f.Context(), host.EndTimeout)
	defer cancel()
	p.Stop(ctx)
	f.expectCleanEnd(p, begin)
}

func (f *fixture) checkListeners() {
	f.skipIfAttached()
	p := f.openPlugin(f.root)
	if len(f.listeners) == 0 {
		f.Skip("the configuration has no listener: give one with -config")
	}
	f.shutDownPlugin(p)
	for _, l := range f.listeners {
		if !l.IsOpen() {
			f.Errorf("after the end of the process, nothing listens at %s: close the descriptor, but do not shut the socket down", l.Address)
		}
	}
}
