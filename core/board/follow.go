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
	// Found are envelopes that were appended again, with the Born that they had this time.
	// If that was lower, the store has lowered the Born of their entries; see
	// [storage.Index].
	Found []storage.Key
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

// keysOf returns the keys of the records of a batch that have an outcome, or nothing if
// nobody follows: who begins later finds them in the store.
func (b *Board) keysOf(batch []*post, outcomes []storage.Outcome, status storage.OutcomeStatus) (keys []storage.Key) {
	if len(b.loadFollowers()) == 0 {
		return nil
	}
	for i, o := range outcomes {
		if o.Status == status {
			keys = append(keys, storage.Key{Born: batch[i].record.Born, ID: batch[i].record.ID})
		}
	}
	return keys
}

func keysOfEntries(entries []storage.Entry) []storage.Key {
	keys := make([]storage.Key, len(entries))
	for i, e := range entries {
		keys[i] = storage.Key{Born: e.Born, ID: e.ID}
	}
	return keys
}
