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
//	1 byte    kind: 0 envelope, 1 token, 2 first
//	16        tag: of an envelope, 8 bytes of a hash of the signature and 8 of
//	          the id, so that one key serves both ways to look it up; of a
//	          token, its [storage.TokenID]; of a first, 8 bytes of the hash of
//	          the signature and zeros
//	8         sequence number
//
// A first names the first envelope of a signature, so that it is found without a walk
// over all envelopes with that signature. If two or more envelopes share the hash of
// their signatures, there is a first for each of these signatures. See signature.go.
//
// Keys have no values, except for those of tokens that Spend recorded. These have the
// sequence number 0, and the id of the envelope as their value; the envelope need not be
// in the log.
//
// A tag is shorter than what it stands for. A lookup of an envelope compares it with the
// log, so envelopes that share a tag do no harm. Tokens are not compared: it takes 2^64
// hashes to make two with one tag, and then the second, by the same maker, counts as spent.
//
// A key is in the tree (the bucket) or recent (in memory); firsts are in the tree. A shard
// is the 1/256th of all possible keys that begin alike. Each shard has a mark, the sequence
// number up to which the keys of the log are in the tree. Its recent keys are those of the
// entries above the mark; a start finds them again in the log. When there are too many
// recent keys, the shard that has waited longest moves into the tree, so that each page
// that is written takes several keys. One key after the other would take a page each.
//
// A stranger can send many keys to one shard: tokens whose hashes begin alike, or envelopes
// of one signature. This costs the others nothing. A shard is sorted, so a lookup is a
// binary search. A full shard moves before its turn, and its keys are neighbours in the
// tree. And no mark falls far behind the log.
type index struct {
	secret []byte                         // see signatureTag
	hash   func([]byte) [sha256.Size]byte // of signatures; tests have them collide
	merged marks
	recent [shards][]key // each ascending
	count  int           // recent keys of all shards
	max    int           // recent keys that mergeShards leaves
}

const (
	shards = 256
	// maxRecent is how many keys may be recent. More means fewer pages to write, but 32
	// bytes of memory each and more of the log to read at a start: up to twice as many
	// entries.
	maxRecent = 64 << 10
	// maxFullShards is how many full shards hold all keys that may be recent: a full shard
	// has eight times its share, or four times where no tokens pay.
	maxFullShards = 32
	// maxBehindPerKey is how far a mark may be behind the log, in entries for each key that may
	// be recent. It is less unless somebody makes keys that begin alike.
	maxBehindPerKey = 2
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
	firstKind    = 2

	signatureTagSize = 8 // of the tag of an envelope
)

func tokenTag(n storage.Nullifier) tag { return tag(storage.NewTokenID(n)) }

func newKey(kind byte, t tag, seq storage.Seq) (k key) {
	k[0] = kind
	copy(k[1:], t[:])
	binary.BigEndian.PutUint64(k[1+tagSize:], uint64(seq))
	return k
}

// keyPrefix returns the kind and n bytes of the tag.
func (k *key) keyPrefix(n int) []byte { return k[:1+n] }

func (k *key) seqOf() storage.Seq { return storage.Seq(binary.BigEndian.Uint64(k[1+tagSize:])) }

// tokenOf returns the token of a key of that kind.
func (k *key) tokenOf() storage.TokenID { return storage.TokenID(k[1 : 1+tagSize]) }

// shardOf returns the shard of the keys with a prefix of two bytes or more.
func shardOf(prefix []byte) int { return int(prefix[0])<<7 | int(prefix[1]>>1) }

// shardStart returns two bytes with which the first possible key of a shard begins.
func shardStart(shard int) []byte { return []byte{byte(shard >> 7), byte(shard << 1)} }

// recentFrom returns the recent keys from prefix on that are in the shard of prefix.
func (x *index) recentFrom(prefix []byte) []key {
	shard := x.recent[shardOf(prefix)]
	i, _ := slices.BinarySearchFunc(shard, prefix, func(k key, p []byte) int { return bytes.Compare(k[:], p) })
	return shard[i:]
}

// findSeqs returns the sequence numbers of the keys with the prefix, in no order. It walks
// over all of them: few keys may have the prefix.
func (x *index) findSeqs(tree *bbolt.Cursor, prefix []byte) (found []storage.Seq) {
	for _, k := range x.recentFrom(prefix) {
		if !bytes.HasPrefix(k[:], prefix) {
			break
		}
		found = append(found, k.seqOf())
	}
	return append(found, seqsInTree(tree, prefix)...)
}

// seqsInTree returns the sequence numbers of the keys in the tree with the prefix.
func seqsInTree(tree *bbolt.Cursor, prefix []byte) (found []storage.Seq) {
	for k, _ := tree.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = tree.Next() {
		key := key(k)
		found = append(found, key.seqOf())
	}
	return found
}

// lookUp returns the lowest recent key with the prefix, or else the lowest in the
// tree, and its value; ok reports whether there is one.
func (x *index) lookUp(tree *bbolt.Cursor, prefix []byte) (k key, value []byte, ok bool) {
	if keys := x.recentFrom(prefix); len(keys) > 0 && bytes.HasPrefix(keys[0][:], prefix) {
		return keys[0], nil, true
	}
	found, value := tree.Seek(prefix)
	if !bytes.HasPrefix(found, prefix) {
		return key{}, nil, false
	}
	return key(found), value, true
}

// findToken returns the key of a token, if it is spent, and its value.
func (x *index) findToken(tree *bbolt.Cursor, t tag) (k key, value []byte, spent bool) {
	k = newKey(tokenKind, t, 0)
	return x.lookUp(tree, k.keyPrefix(tagSize))
}

// addKey adds a recent key.
func (x *index) addKey(k key) {
	s := shardOf(k[:])
	x.recent[s] = slices.Insert(x.recent[s], len(x.recent[s])-len(x.recentFrom(k[:])), k)
	x.count++
}

// mergeShards puts shards into the tree until no shard is full and few enough recent keys
// remain, and returns them. The log ends at last. The caller drops them with forgetShards
// once the transaction is committed, and not otherwise.
func (x *index) mergeShards(tree *bbolt.Bucket, last storage.Seq) (moved []int, _ error) {
	merged, count := x.merged, x.count
	move := func(s int) error {
		for i := range x.recent[s] {
			if err := tree.Put(x.recent[s][i][:], nil); err != nil {
				return err
			}
		}
		count -= len(x.recent[s])
		merged[s] = last
		moved = append(moved, s)
		return nil
	}
	for s := range x.recent {
		if len(x.recent[s]) > x.max/maxFullShards {
			if err := move(s); err != nil {
				return nil, err
			}
		}
	}
	for {
		oldest := 0
		for s := range merged {
			if merged[s] < merged[oldest] {
				oldest = s
			}
		}
		behind := last-merged[oldest] > storage.Seq(maxBehindPerKey*x.max)
		if count <= x.max && (!behind || len(moved) > 0) { // the marks catch up in many commits, one shard in each
			return moved, nil
		}
		if err := move(oldest); err != nil {
			return nil, err
		}
	}
}

// forgetShards drops shards that mergeShards returned for a log that ended at last.
func (x *index) forgetShards(moved []int, last storage.Seq) {
	for _, s := range moved {
		x.count -= len(x.recent[s])
		x.recent[s] = nil
		x.merged[s] = last
	}
}

// loadRecent reads the recent keys from the log.
func (x *index) loadRecent(tx *bbolt.Tx, st *state) error {
	x.secret, x.merged = bytes.Clone(tx.Bucket(metaBucket).Get(secretKey)), st.merged
	log, buf := tx.Bucket(logBucket), make([]byte, 0, maxPieces*pieceSize)
	for seq := slices.Min(x.merged[:]) + 1; seq <= st.last; seq++ {
		r, err := readRecord(log, seq, buf)
		if err != nil {
			return err
		}
		for _, k := range x.keysOf(&r, seq) {
			if s := shardOf(k[:]); seq > x.merged[s] {
				x.recent[s] = append(x.recent[s], k)
				x.count++
			}
		}
	}
	for s := range x.recent {
		slices.SortFunc(x.recent[s], func(a, b key) int { return bytes.Compare(a[:], b[:]) })
	}
	return nil
}

// keysOf returns the keys of an entry of the log.
func (x *index) keysOf(r *record, seq storage.Seq) []key {
	keys := []key{newKey(envelopeKind, x.envelopeTag(r.signature, r.id), seq)}
	if r.paid {
		keys = append(keys, newKey(tokenKind, r.token, seq))
	}
	return keys
}

func (m *marks) marshal() []byte {
	b := make([]byte, 0, 8*shards)
	for _, seq := range m {
		b = binary.BigEndian.AppendUint64(b, uint64(seq))
	}
	return b
}

func (m *marks) unmarshal(b []byte) bool {
	if len(b) != 8*shards {
		return false
	}
	for s := range m {
		m[s] = storage.Seq(binary.BigEndian.Uint64(b[8*s:]))
	}
	return true
}
