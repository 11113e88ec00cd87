package board

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// post is an envelope on its way into the log.
type post struct {
	record storage.Record
	json   []byte // the envelope, encoded
	since  time.Time
	done   func(Result)
	// fromPeer: another relay has accepted the envelope, and nobody waits for it here.
	fromPeer bool
}

// memorySize returns how many bytes the post holds in memory.
func (p *post) memorySize() int64 {
	return int64(len(p.record.Ciphertext) + len(p.record.Signature) + len(p.json))
}

// Of each append, so much is for envelopes from peers if others wait too: enough that the
// boards come together while clients post as fast as they can, and little enough that clients
// hardly notice.
const (
	peerRecords = storage.MaxBatch / 8
	peerBytes   = storage.MaxBatchBytes / 8
)

// queue holds the posts that wait for the committer, bounded in number and in
// bytes. Posts that find it full wait in the order of their arrival.
type queue struct {
	records *semaphore.Weighted
	bytes   *semaphore.Weighted

	mu        sync.Mutex
	waiting   []*post // of clients
	fromPeers []*post // the same of other relays
	closed    bool
	wake      chan struct{} // holds a signal while there may be something to take
}

func newQueue(records int, bytes int64) *queue {
	return &queue{
		records: semaphore.NewWeighted(int64(records)),
		bytes:   semaphore.NewWeighted(bytes),
		wake:    make(chan struct{}, 1),
	}
}

// putPost adds p, waiting for room until ctx ends.
func (q *queue) putPost(ctx context.Context, p *post) error {
	if err := q.records.Acquire(ctx, 1); err != nil {
		return err
	}
	if err := q.bytes.Acquire(ctx, p.memorySize()); err != nil {
		q.records.Release(1)
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		q.releaseRoom(p)
		return errClosed
	}
	if p.fromPeer {
		q.fromPeers = append(q.fromPeers, p)
	} else {
		q.waiting = append(q.waiting, p)
	}
	q.signalTaker()
	return nil
}

// releaseRoom gives back the room of p. It is called when p is answered, not when it
// is taken, so that the batch in flight counts.
func (q *queue) releaseRoom(p *post) {
	q.records.Release(1)
	q.bytes.Release(p.memorySize())
}

func (q *queue) signalTaker() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// takeBatch waits for posts and removes a batch of them. It returns nil when the queue
// is closed and empty, or ctx has ended.
func (q *queue) takeBatch(ctx context.Context) []*post {
	for {
		q.mu.Lock()
		batch := q.cutBatch()
		closed := q.closed
		q.mu.Unlock()
		if batch != nil || closed || ctx.Err() != nil {
			return batch
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// cutBatch removes what fits the limits of an append: posts of clients, and then envelopes
// from peers.
func (q *queue) cutBatch() []*post {
	records, bytes := storage.MaxBatch, storage.MaxBatchBytes
	if len(q.fromPeers) > 0 {
		records, bytes = records-peerRecords, bytes-peerBytes
	}
	posts := cutPrefix(&q.waiting, records, bytes)
	if len(posts) == 0 {
		return cutPrefix(&q.fromPeers, peerRecords, peerBytes)
	}
	return append(posts, cutPrefix(&q.fromPeers, peerRecords, peerBytes)...)
}

// cutPrefix removes the longest prefix of a list that fits the limits, but at least one post.
func cutPrefix(list *[]*post, records, maxBytes int) []*post {
	n, bytes := 0, 0
	for n < len(*list) && n < records {
		r := &(*list)[n].record
		bytes += len(r.Signature) + len(r.Ciphertext)
		if n > 0 && bytes > maxBytes {
			break
		}
		n++
	}
	if n == 0 {
		return nil
	}
	batch := (*list)[:n:n]
	*list = (*list)[n:]
	if len(*list) == 0 {
		*list = nil // lets go of the array
	}
	return batch
}

func (q *queue) closeQueue() {
	q.mu.Lock()
	q.closed = true
	q.signalTaker()
	q.mu.Unlock()
}
