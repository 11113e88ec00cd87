package replica

import (
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// setQuietTime makes comparisons short.
func setQuietTime(nodes []*node) {
	for _, x := range nodes {
		x.quietTime = 300 * time.Millisecond
	}
}

// TestCompareOpensTheLinkAnew: the next link has another secret, and the plugin repairs over it
// what it has missed.
func TestCompareOpensTheLinkAnew(t *testing.T) {
	_, nodes := newCluster(t, 2)
	setQuietTime(nodes)
	a, b := nodes[0], nodes[1]
	awaitUp(t, nodes...)
	for i := range 20 {
		postEnvelope(t, a.board, i)
	}
	awaitCounts(t, nodes, 20)
	secret := func() [32]byte {
		a.linksMu.Lock()
		defer a.linksMu.Unlock()
		return a.links[a.peers[0].Number].conn.Secret()
	}
	before := secret()
	for name, scrub := range map[string]bool{"sync": false, "scrub": true} {
		c, err := a.Compare(t.Context(), b.name, scrub)
		if err != nil {
			t.Fatal(name, err)
		}
		if !c.Done || c.Link.State != "up" || c.New != 0 || c.Refused != 0 || c.BytesOut == 0 {
			t.Errorf("%s: %+v", name, c)
		}
		if keys := map[bool]int{true: 20}[scrub]; c.Keys != keys {
			t.Errorf("%s: %d keys were read, want %d", name, c.Keys, keys)
		}
		if after := secret(); after == before {
			t.Errorf("%s: the link has the secret of the one before", name)
		} else {
			before = after
		}
	}
}

// TestScrubFindsWhatTheStoreHasLost: the index has a key that the store has lost behind the back
// of the relay. A scrub takes it out.
func TestScrubFindsWhatTheStoreHasLost(t *testing.T) {
	_, nodes := newCluster(t, 2)
	setQuietTime(nodes)
	a := nodes[0]
	awaitUp(t, nodes...)
	postEnvelope(t, a.board, 1)
	awaitCounts(t, nodes, 1)
	await(t, "keys", func() bool { _, err := a.findIndex(t.Context()); return err == nil })
	index, err := a.findIndex(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	index.Insert(storage.Key{Born: index.Newest(), ID: storage.ID{1, 2, 3}})
	if index.Len() != 2 {
		t.Fatal("the index has no key too many")
	}
	c, err := a.Compare(t.Context(), nodes[1].name, true)
	if err != nil || c.Keys != 1 || index.Len() != 1 {
		t.Errorf("%d keys were read, %d are left: %v", c.Keys, index.Len(), err)
	}
}

// TestCompareSaysWhyNot shows why there is no comparison.
func TestCompareSaysWhyNot(t *testing.T) {
	c, nodes := newCluster(t, 2)
	setQuietTime(nodes)
	a, b := nodes[0], nodes[1]
	awaitUp(t, nodes...)
	fails := func(name, want string) {
		t.Helper()
		if _, err := a.Compare(t.Context(), name, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("peer %s: %v, want %q", name, err, want)
		}
	}
	fails("nobody", `there is no peer "nobody"`)
	c.isolate(b)
	fails(b.name, "it was not reached: unreachable")
	paused := peerOf(b)
	paused.Paused = true
	if err := a.SetPeers([]Peer{paused}); err != nil {
		t.Fatal(err)
	}
	fails(b.name, `is paused: resume it first`)
}
