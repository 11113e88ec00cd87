package board

import "time"

// Refusing returns why the last batch of posts was refused, when that was because of
// the store, and nil once posts are stored again. A store that was started again is
// not blamed for what it did before.
func (b *Board) Refusing() error {
	if err := b.refusing.Load(); err != nil {
		return *err
	}
	return nil
}

// stallAfter is how long a post may be on its way to the committer, in timeouts for
// posts: one while it waits for room in the queue, and three while the committer is
// at the batch before, which has to wait for a follower, append and catch up.
const stallAfter = 6

// Stalled reports whether posts wait for longer than they can while the committer
// runs, whatever the store does.
func (b *Board) Stalled() bool {
	b.queue.mu.Lock()
	defer b.queue.mu.Unlock()
	return len(b.queue.waiting) > 0 && time.Since(b.queue.waiting[0].since) > stallAfter*b.cfg.PostTimeout
}
