package board

import (
	"slices"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Change tells a follower of the board what has become of envelopes.
type Change struct {
	// Added are the entries that the log has grown by, in its order. Cursors see them from
	// now on. A follower may keep the envelopes, and must not change them.
	Added []storage.Entry
	// Found are envelopes that were appended again, with the Born that they had this time.
	// If that was lower, the store has lowered the Born of their entries; see
	// [storage.Index].
	Found []storage.Key
	// Unsure means that the board does not know what an append has done. Entries that it
	// has added are in a later Change; others may have another Born.
	Unsure bool
}

// Follow calls f with every change, until stop is called. An entry that is in no
// Change was in the store before Follow returned. Calls come one at a time and in the
// order of the log, and one may still be under way when stop returns. Posts wait for f, so
// it must be quick.
func (b *Board) Follow(f func(Change)) (stop func()) {
	b.followMu.Lock()
	defer b.followMu.Unlock()
	added := &f
	b.setFollowers(append(slices.Clone(b.loadFollowers()), added))
	return func() {
		b.followMu.Lock()
		defer b.followMu.Unlock()
		b.setFollowers(slices.DeleteFunc(slices.Clone(b.loadFollowers()), func(f *func(Change)) bool { return f == added }))
	}
}

func (b *Board) setFollowers(fs []*func(Change)) { b.followers.Store(&fs) }

func (b *Board) loadFollowers() []*func(Change) {
	if fs := b.followers.Load(); fs != nil {
		return *fs
	}
	return nil
}

// tellFollowers passes a change on, unless it is empty. b.appendMu is held.
func (b *Board) tellFollowers(c Change) {
	if len(c.Added) == 0 && len(c.Found) == 0 && !c.Unsure {
		return
	}
	for _, f := range b.loadFollowers() {
		(*f)(c)
	}
}

// addedBy returns the entries that the log has grown by with a batch, or nothing if nobody
// follows: who begins later finds them in the store.
func (b *Board) addedBy(batch []*post, outcomes []storage.Outcome) (added []storage.Entry) {
	if len(b.loadFollowers()) == 0 {
		return nil
	}
	for i, o := range outcomes {
		if r := &batch[i].record; o.Status == storage.Stored {
			added = append(added, storage.Entry{Seq: o.Seq, ID: r.ID, Born: r.Born, Signature: r.Signature, Ciphertext: r.Ciphertext})
		}
	}
	return added
}

// foundBy returns the keys of a batch that were in the log before, or nothing if nobody follows.
func (b *Board) foundBy(batch []*post, outcomes []storage.Outcome) (found []storage.Key) {
	if len(b.loadFollowers()) == 0 {
		return nil
	}
	for i, o := range outcomes {
		if o.Status == storage.Duplicate {
			found = append(found, storage.Key{Born: batch[i].record.Born, ID: batch[i].record.ID})
		}
	}
	return found
}
