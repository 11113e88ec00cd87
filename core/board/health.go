package board

import "time"

// LastRefusal returns why the store refused the last batch of posts, or nil if it stored
// it. A store that was started again is not blamed for what it did before.
func (b *Board) LastRefusal() error {
	if err := b.lastRefusal.Load(); err != nil {
		return *err
	}
	return nil
}

// stallTimeouts is how long a post may wait for the committer, in timeouts for posts:
// one while it waits for room in the queue, and three while the committer is at the
// batch before, which has to wait for the watcher, append and catch up. The rest is
// to spare.
const stallTimeouts = 6

// Stalled reports whether posts have waited longer than they can while the committer
// works, whatever the store does. It is a sign of a defect.
func (b *Board) Stalled() bool {
	b.queue.mu.Lock()
	defer b.queue.mu.Unlock()
	isOld := func(list []*post) bool {
		return len(list) > 0 && time.Since(list[0].since) > stallTimeouts*b.cfg.PostTimeout
	}
	return isOld(b.queue.waiting) || isOld(b.queue.fromPeers)
}

// SetNoRoom makes the board refuse posts for a reason, or take them again if it is nil.
// Posts that are in the queue already are stored, and reads go on.
func (b *Board) SetNoRoom(reason error) {
	if reason == nil {
		b.noRoom.Store(nil)
		return
	}
	b.noRoom.Store(&reason)
}

// SetCrowded makes [Board.Crowded] return a reason, or nil.
func (b *Board) SetCrowded(reason error) { b.crowded.Store(&reason) }

// Crowded returns why nothing should be taken from peers now, or nil. Posts go on, and so does
// [Board.Replicate]: whoever calls it asks its peers to wait.
func (b *Board) Crowded() error {
	if err := b.crowded.Load(); err != nil {
		return *err
	}
	return nil
}

// NoRoom returns why no post is taken now, or nil if posts are.
func (b *Board) NoRoom() error {
	if err := b.noRoom.Load(); err != nil {
		return *err
	}
	return nil
}
