package e2e_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// TestPromise2GapFreeLog starts readers at different times while others post and the
// plugin is killed. What a reader has seen is a prefix of the log: nothing appears
// later at a position that it has passed, on no connection, and not after the relay
// was killed either.
func TestPromise2GapFreeLog(t *testing.T) {
	t.Parallel()
	h := newHarness(t, `
		limits { post_timeout = "60s" }
		server "main" {}
	`)
	h.start()
	const posters, each, readers = 3, 200, 4
	posts := h.newPosts("main", posters*each+1, 1000)
	end := posts[posters*each]

	answers := make(chan struct{}, posters*each)
	var posting, reading sync.WaitGroup
	for p := range posters {
		posting.Go(func() {
			err := h.submit("main", posts[p*each:][:each], 16, func(i int, success bool) {
				if !success {
					t.Errorf("post %d was refused", p*each+i)
				}
				answers <- struct{}{}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	seen := make([][]wire.Envelope, readers)
	for r := range readers {
		reading.Go(func() { seen[r] = h.readUntil(envelopeKey(end.Envelope)) })
		if r == 1 {
			h.storagePlugin().kill()
		}
		for range posters * each / (readers + 1) {
			select {
			case <-answers:
			case <-h.ctx.Done():
				t.Fatal("no results come")
			}
		}
	}
	posting.Wait()
	h.mustStore("main", []post{end})
	reading.Wait()

	log := h.readBoard("main")
	if len(log) != len(posts) {
		t.Errorf("the log has %d envelopes, %d were acknowledged", len(log), len(posts))
	}
	for r := range readers {
		if !slices.EqualFunc(seen[r], log, sameEnvelope) {
			t.Errorf("reader %d saw %d envelopes, and not those of the log in its order", r, len(seen[r]))
		}
	}

	h.relay.kill()
	h.start()
	h.mustStore("main", h.newPosts("main", 20, 1000))
	after := h.readBoard("main")
	if len(after) != len(log)+20 || !slices.EqualFunc(after[:len(log)], log, sameEnvelope) {
		t.Error("after a restart the log does not begin with what was there before")
	}
	middle := len(log) / 2
	if rest := h.readBoardFrom("main", log[middle].Signature); !slices.EqualFunc(rest, after[middle:], sameEnvelope) {
		t.Errorf("from envelope %d on there are %d envelopes, not %d as in the whole log", middle, len(rest), len(after)-middle)
	}
	h.stop()
}

// readUntil reads a board from the beginning and then follows it up to an envelope.
// A server may repeat the last envelope of a replay, which the client marks. Every
// other envelope comes once.
func (h *harness) readUntil(until string) (seen []wire.Envelope) {
	b := h.connect("main")
	defer b.Close()
	if err := b.Replay(nil); err != nil {
		h.Error(err)
		return nil
	}
	repeats := 0
	for e, err := range b.Events(h.ctx) {
		switch {
		case err != nil:
			h.Error(err)
			return seen
		case e.Kind != client.Replayed && e.Kind != client.New:
			continue
		case e.Repeat:
			if repeats++; repeats > 1 {
				h.Error("more than one envelope came again")
			}
			continue
		}
		seen = append(seen, e.Envelope)
		if envelopeKey(e.Envelope) == until {
			break
		}
	}
	return seen
}

func sameEnvelope(a, b wire.Envelope) bool {
	return string(a.Signature) == string(b.Signature) && string(a.Ciphertext) == string(b.Ciphertext)
}
