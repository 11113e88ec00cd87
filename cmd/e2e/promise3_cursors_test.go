package e2e_test

import (
	"slices"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// TestPromise3OneLogManyCursors stops one reader until clients have posted more than
// the relay keeps in memory. Neither the posters nor another reader wait for it.
// When it reads on it gets everything from storage, although the plugin is killed
// meanwhile.
func TestPromise3OneLogManyCursors(t *testing.T) {
	t.Parallel()
	h := newHarness(t, `server "main" {}`)
	h.start()
	first := h.newPosts("main", 10, 5700)
	h.mustStore("main", first)

	slow := h.connect("main")
	if err := slow.Sync(h.ctx, nil, nil); err != nil {
		t.Fatal(err)
	}
	fast := h.connect("main")
	if err := fast.Sync(h.ctx, nil, nil); err != nil {
		t.Fatal(err)
	}

	// The relay keeps 8 MiB in memory for readers. The system buffers up to 4 MiB on the
	// way to one.
	const count = 2200
	posts := h.newPosts("main", count, 5700)
	got := make(chan []wire.Envelope)
	go func() { got <- readNext(h, fast, count) }()
	h.mustStore("main", posts) // does not wait for the slow reader
	fastSaw := <-got           // nor does this
	if !slices.EqualFunc(fastSaw, envelopes(posts), sameEnvelope) {
		t.Errorf("the fast reader got %d envelopes, not the %d that were posted, in their order", len(fastSaw), count)
	}

	pages := h.status().Servers[0].Relay.Reads.StorePages
	go func() { got <- readNext(h, slow, count) }()
	h.storagePlugin().kill()
	slowSaw := <-got
	if !slices.EqualFunc(slowSaw, fastSaw, sameEnvelope) {
		t.Errorf("the slow reader got %d envelopes, not the same %d as the fast one", len(slowSaw), count)
	}
	if h.status().Servers[0].Relay.Reads.StorePages == pages {
		t.Error("the slow reader got what it had missed from memory; the test should have posted more")
	}

	// Both readers are at the end of the log.
	more := h.newPosts("main", 3, 100)
	h.mustStore("main", more)
	for _, b := range []*client.Board{slow, fast} {
		if !slices.EqualFunc(readNext(h, b, len(more)), envelopes(more), sameEnvelope) {
			t.Error("a reader that has caught up does not get what is posted next")
		}
	}
	h.stop()
}

// readNext reads the next n new envelopes.
func readNext(h *harness, b *client.Board, n int) (seen []wire.Envelope) {
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
