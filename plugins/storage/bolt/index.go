package bolt

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// The index finds sequence numbers by what is known of an envelope. It is a set
// of keys of one size:
//
//	1 byte    kind: 0 envelope, 1 token
//	16        tag: of an envelope, 8 bytes of a hash of the signature and 8 of
//	          the id, so that one key serves both ways to look it up; of a
//	          token, its [storage.TokenID]
//	8         sequence number
//
// Keys have no values, except for those of tokens that Spend recorded: these
// have the sequence number 0 and as their value the id of the envelope, which
// need not be in the log. Files with such keys have format 2.
//
// A tag is shorter than what it stands for. Whoever looks up an envelope
// compares it with the log, so envelopes that share a tag do no harm. Tokens
// are not compared: two of one tag take 2^64 hashes to make, and then the
// second, of the same maker, counts as spent.
//
// The keys are in the tree (the bucket) or recent (in memory). A shard is the
// 1/256th of all possible keys that begin alike. For each shard there is a mark, the
// sequence number up to which the log's keys are in the tree, and the recent
// keys of the shard are those of the entries of the log above the mark, which
// is how a start finds them again. When there are too many, the shard that has
// waited longest moves into the tree: several keys for each page that must be
// written, where one after the other would take a page each.
type index struct {
	merged marks
	recent [shards][]key
	count  int // recent keys of all shards
	max    int // that merge leaves
}

const (
	shards = 256
	// maxRecent is how many keys may be recent. More means fewer pages to write,
	// 32 bytes of memory each, and more of the log to read at a start: up to
	// twice as many entries.
	maxRecent = 64 << 10
)

type (
	tag [tagSize]byte
	key [1 + tagSize + 8]byte
	// marks has the sequence number up to which each shard is in the tree.
	marks [shards]storage.Seq
)

const (
	envelopeKind = 0
	tokenKind    = 1

	signatureTagSize = 8 // of the tag of an envelope
)

func envelopeTag(signature []byte, id storage.ID) (t tag) {
	h := sha256.Sum256(signature)
	copy(t[copy(t[:signatureTagSize], h[:]):], id[:])
	return t
}

func tokenTag(n storage.Nullifier) tag { return tag(storage.NewTokenID(n)) }

func newKey(kind byte, t tag, seq storage.Seq) (k key) {
	k[0] = kind
	copy(k[1:], t[:])
	binary.BigEndian.PutUint64(k[1+tagSize:], uint64(seq))
	return k
}

// prefix returns the kind and n bytes of the tag.
func (k *key) prefix(n int) []byte { return k[:1+n] }

func (k *key) seq() storage.Seq { return storage.Seq(binary.BigEndian.Uint64(k[1+tagSize:])) }

// token returns the token of a key of that kind.
func (k *key) token() storage.TokenID { return storage.TokenID(k[1 : 1+tagSize]) }

// shardOf returns the shard of the keys with a prefix of two bytes or more.
func shardOf(prefix []byte) int { return int(prefix[0])<<7 | int(prefix[1]>>1) }

// shardStart is what the keys of a shard begin with, or come after.
func shardStart(shard int) []byte { return []byte{byte(shard >> 7), byte(shard << 1)} }

// seqs returns the sequence numbers of the keys with the prefix, in no order
// and perhaps more than once.
func (x *index) seqs(tree *bbolt.Cursor, prefix []byte) (found []storage.Seq) {
	for _, k := range x.recent[shardOf(prefix)] {
		if bytes.HasPrefix(k[:], prefix) {
			found = append(found, k.seq())
		}
	}
	for k, _ := tree.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = tree.Next() {
		key := key(k)
		found = append(found, key.seq())
	}
	return found
}

// token returns the key of a token, if it is spent, and its value.
func (x *index) token(tree *bbolt.Cursor, t tag) (k key, value []byte, spent bool) {
	k = newKey(tokenKind, t, 0)
	prefix := k.prefix(tagSize)
	for _, r := range x.recent[shardOf(prefix)] {
		if bytes.HasPrefix(r[:], prefix) {
			return r, nil, true
		}
	}
	found, value := tree.Seek(prefix)
	if !bytes.HasPrefix(found, prefix) {
		return k, nil, false
	}
	return key(found), value, true
}

// add takes in the keys of an entry of the log.
func (x *index) add(k key) {
	s := shardOf(k[:])
	x.recent[s] = append(x.recent[s], k)
	x.count++
}

// merge puts shards into the tree until few enough recent keys remain, and
// returns them. The log ends at last. They are to be dropped when, and only
// when, the transaction is committed.
func (x *index) merge(tree *bbolt.Bucket, last storage.Seq) (moved []int, _ error) {
	merged := x.merged
	for count := x.count; count > x.max; {
		oldest := 0
		for s := range merged {
			if merged[s] < merged[oldest] {
				oldest = s
			}
		}
		keys := slices.SortedFunc(slices.Values(x.recent[oldest]), func(a, b key) int { return bytes.Compare(a[:], b[:]) })
		for i := range keys {
			if err := tree.Put(keys[i][:], nil); err != nil {
				return nil, err
			}
		}
		count -= len(keys)
		merged[oldest] = last
		moved = append(moved, oldest)
	}
	return moved, nil
}

// drop forgets shards that merge returned for a log that ended at last.
func (x *index) drop(moved []int, last storage.Seq) {
	for _, s := range moved {
		x.count -= len(x.recent[s])
		x.recent[s] = nil
		x.merged[s] = last
	}
}

// load reads the recent keys from the log.
func (x *index) load(tx *bbolt.Tx, st *state) error {
	x.merged = st.merged
	log, buf := tx.Bucket(logBucket), make([]byte, 0, maxPieces*pieceSize)
	for seq := slices.Min(x.merged[:]) + 1; seq <= st.last; seq++ {
		r, err := readRecord(log, seq, buf)
		if err != nil {
			return err
		}
		for _, k := range r.keys(seq) {
			if seq > x.merged[shardOf(k[:])] {
				x.add(k)
			}
		}
	}
	return nil
}

func (m *marks) encode() []byte {
	b := make([]byte, 0, 8*shards)
	for _, seq := range m {
		b = binary.BigEndian.AppendUint64(b, uint64(seq))
	}
	return b
}

func (m *marks) decode(b []byte) bool {
	if len(b) != 8*shards {
		return false
	}
	for s := range m {
		m[s] = storage.Seq(binary.BigEndian.Uint64(b[8*s:]))
	}
	return true
}
