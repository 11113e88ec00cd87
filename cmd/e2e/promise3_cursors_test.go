package e2e_test

import (
	"slices"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// TestPromise3OneLogManyCursors has one reader stop reading until more has been
// posted than the relay keeps in memory. Neither those who post nor another
// reader wait for it; when it reads on it gets everything, from storage, while
// the plugin is killed.
func TestPromise3OneLogManyCursors(t *testing.T) {
	t.Parallel()
	h := newHouse(t, `server "main" {}`)
	h.start()
	first := h.posts("main", 10, 5700)
	h.store("main", first)

	slow := h.connect("main")
	if err := slow.Sync(h.ctx, nil, nil); err != nil {
		t.Fatal(err)
	}
	fast := h.connect("main")
	if err := fast.Sync(h.ctx, nil, nil); err != nil {
		t.Fatal(err)
	}

	// The relay keeps 8 MiB in memory for readers, the system up to 4 MiB on the
	// way to one.
	const count = 2200
	posts := h.posts("main", count, 5700)
	got := make(chan []wire.Envelope)
	go func() { got <- take(h, fast, count) }()
	h.store("main", posts) // returns although the slow reader reads nothing
	fastSaw := <-got       // and so does this
	if !slices.EqualFunc(fastSaw, envelopes(posts), sameEnvelope) {
		t.Errorf("the fast reader got %d envelopes, not the %d that were posted, in their order", len(fastSaw), count)
	}

	pages := h.status().Servers[0].Relay.Reads.StorePages
	go func() { got <- take(h, slow, count) }()
	h.plugin().kill()
	slowSaw := <-got
	if !slices.EqualFunc(slowSaw, fastSaw, sameEnvelope) {
		t.Errorf("the slow reader got %d envelopes, not the same %d as the fast one", len(slowSaw), count)
	}
	if h.status().Servers[0].Relay.Reads.StorePages == pages {
		t.Error("the slow reader got what it had missed from memory; the test should have posted more")
	}

	// Both are where the log ends.
	more := h.posts("main", 3, 100)
	h.store("main", more)
	for _, b := range []*client.Board{slow, fast} {
		if !slices.EqualFunc(take(h, b, len(more)), envelopes(more), sameEnvelope) {
			t.Error("a reader that has caught up does not get what is posted next")
		}
	}
	h.stop()
}

// take reads the next n envelopes that the reader has not had before.
func take(h *house, b *client.Board, n int) (seen []wire.Envelope) {
	for e, err := range b.Events(h.ctx) {
		if err != nil {
			h.Error(err)
			break
		}
		if e.Kind != client.New || e.Repeat {
			continue
		}
		if seen = append(seen, e.Envelope); len(seen) == n {
			break
		}
	}
	return seen
}

func envelopes(posts []post) []wire.Envelope {
	out := make([]wire.Envelope, len(posts))
	for i, p := range posts {
		out[i] = p.Envelope
	}
	return out
}
