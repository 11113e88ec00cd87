package replica

import (
	"slices"
	"sync"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// maxNewest is how many entries newestEntries keeps. They take about 1 MiB.
const maxNewest = 1 << 13

// newestEntries keeps the end of the log, without the envelopes. A plugin that follows the log is
// nearly always there, and without it the store would be asked three times for each page.
type newestEntries struct {
	mu      sync.Mutex
	board   Board            // whose log it is; nil: of none
	entries []peersync.Entry // ascending without a gap; without Via
}

// beginLog forgets all entries. Those of another board are not added from now on.
func (n *newestEntries) beginLog(b Board) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.board, n.entries = b, nil
}

// addEntries adds entries that the log of a board has grown by. At a gap, those before it are dropped.
func (n *newestEntries) addEntries(b Board, added []storage.Entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.board != b {
		return
	}
	for _, e := range added {
		if last := len(n.entries) - 1; last >= 0 && e.Seq != n.entries[last].Seq+1 {
			n.entries = nil
		}
		n.entries = append(n.entries, peersync.Entry{Seq: e.Seq, Key: keyOf(e), Size: uint32(len(e.Signature) + len(e.Ciphertext))})
	}
	n.entries = n.entries[max(0, len(n.entries)-maxNewest):]
}

// entriesFrom returns entries of the log of a board that ends at end, at most limit of them.
// It returns false if they are not all here.
func (n *newestEntries) entriesFrom(b Board, from, end storage.Seq, limit int) ([]peersync.Entry, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	last := len(n.entries) - 1
	if n.board != b || last < 0 || from < n.entries[0].Seq || end > n.entries[last].Seq {
		return nil, false
	}
	if from > end {
		return nil, true
	}
	first := int(from - n.entries[0].Seq)
	return slices.Clone(n.entries[first : first+min(limit, int(end-from)+1)]), true
}
