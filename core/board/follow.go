package board

import (
	"slices"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Change tells a follower of the board what has become of keys.
type Change struct {
	// Added are the keys of entries that the log has grown by, in its order. Cursors see
	// them from now on.
	Added []storage.Key
	// Found are the ids of envelopes that were appended again. The store may have
	// lowered the Born of their entries; see [storage.Index].
	Found []storage.ID
	// Unsure means that the board does not know what an append has done. Entries that it
	// has added are in a later Change; others may have another Born.
	Unsure bool
}

// Follow calls f with every change of keys, until stop is called. An entry that is in no
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

// storedKeys returns the keys of the records that a batch has stored, or nothing if
// nobody follows: who begins later finds them in the store.
func (b *Board) storedKeys(batch []*post, outcomes []storage.Outcome) (keys []storage.Key) {
	if len(b.loadFollowers()) == 0 {
		return nil
	}
	for i, o := range outcomes {
		if o.Status == storage.Stored {
			keys = append(keys, storage.Key{Born: batch[i].record.Born, ID: batch[i].record.ID})
		}
	}
	return keys
}

// foundIDs returns the ids of the records of a batch that were in the log before.
func foundIDs(batch []*post, outcomes []storage.Outcome) (ids []storage.ID) {
	for i, o := range outcomes {
		if o.Status == storage.Duplicate {
			ids = append(ids, batch[i].record.ID)
		}
	}
	return ids
}

func keysOfEntries(entries []storage.Entry) []storage.Key {
	keys := make([]storage.Key, len(entries))
	for i, e := range entries {
		keys[i] = storage.Key{Born: e.Born, ID: e.ID}
	}
	return keys
}
