package exchange

import (
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

// line carries frames in one direction, at 1 MB/s.
type line struct {
	from, to *solo
	latency  time.Duration
	room     int // bytes that may be sent now
	flight   []inFlight
}

type inFlight struct {
	arrives time.Duration
	frame   peerlink.Frame
}

const tick = 10 * time.Millisecond

// carry does what happens in one tick.
func (l *line) carry(now time.Duration) {
	for len(l.flight) > 0 && l.flight[0].arrives <= now {
		l.to.e.Receive(1, l.flight[0].frame)
		l.flight = l.flight[1:]
	}
	l.room = min(l.room+10_000, 10_000)
	for l.room > 0 {
		l.from.work()
		f, ok := l.from.e.Next(1)
		if !ok {
			break
		}
		l.room -= len(peerlink.AppendFrame(nil, f))
		l.flight = append(l.flight, inFlight{now + l.latency, f})
	}
}

// Ten thousand envelopes of 4 KiB take 41 s at 1 MB/s. A round trip of 1 or 2 s adds little.
func TestCatchUpIsLimitedByTheLink(t *testing.T) {
	const count = 10_000
	for _, latency := range []time.Duration{50 * time.Millisecond, 500 * time.Millisecond, time.Second} {
		from, to := newSolo(t), newSolo(t)
		from.up(1)
		to.up(1)
		ids := from.hold(0, count, 4088)
		lines := []*line{{from: from, to: to, latency: latency}, {from: to, to: from, latency: latency}}
		now, live := time.Duration(0), time.Duration(0)
		for ; len(to.log) < count; now += tick {
			for len(ids) > 0 && from.e.Offer(1, ids[:min(len(ids), peersync.MaxIDs/4)]) == nil {
				ids = ids[min(len(ids), peersync.MaxIDs/4):]
			}
			if now == 20*time.Second {
				if err := from.e.Send(1, []byte("live")); err != nil {
					t.Fatal(err)
				}
			}
			for _, l := range lines {
				l.from.e.Advance(now, worldStart.Add(now))
				l.carry(now)
			}
			from.e.Events()
			for _, event := range to.e.Events() {
				if _, ok := event.(peersync.PeerMessage); ok {
					live = now - 20*time.Second
				}
			}
			if now > 3*time.Minute {
				t.Fatalf("latency %v: after %v only %d envelopes have come", latency, now, len(to.log))
			}
		}
		least := time.Duration(count) * 4096 * time.Microsecond
		t.Logf("latency %v: %v, %.0f %% of the line; a message meanwhile takes %v", latency, now, 100*least.Seconds()/now.Seconds(), live)
		if now > least*5/4 {
			t.Errorf("latency %v: it takes %v, want at most %v", latency, now, least*5/4)
		}
		if live > latency+100*time.Millisecond {
			t.Errorf("latency %v: a message takes %v meanwhile", latency, live)
		}
	}
}
