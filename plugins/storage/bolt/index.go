package bolt

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"iter"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// The index finds sequence numbers by what is known of an envelope. It is a set
// of keys of one size:
//
//	1 byte    kind: 0 envelope, 1 token, 2 first, 3 id, 4 born
//	16        tag: of an envelope, 8 bytes of a hash of the signature and 8 of
//	          the id, so that one key serves both ways to look it up; of a
//	          token, its [storage.TokenID]; of a first, 8 bytes of the hash of
//	          the signature and zeros; of an id, its first 16 bytes; of a
//	          born, the hour of birth, 4 bytes, and 12 of the id
//	8         sequence number
//
// A first names the first envelope of a signature, so that it is found without a walk
// over all envelopes with that signature. If two or more envelopes share the hash of
// their signatures, there is a first for each of these signatures. See signature.go.
//
// Keys have no values, except for two kinds. The keys of tokens that Spend recorded have the
// sequence number 0, and the id of the envelope as their value; the envelope need not be
// in the log. The keys of born have the rest of the id as their value, so that [Store.Keys]
// need not read the log.
//
// A tag is shorter than what it stands for. A lookup of an envelope compares it with the
// log, so envelopes that share a tag do no harm. Tokens are not compared: it takes 2^64
// hashes to make two with one tag, and then the second, by the same maker, counts as spent.
//
// A key is in the tree (the bucket) or recent (in memory); firsts are in the tree. A shard
// is the 1/64th of all possible keys of one kind whose tags begin alike, and those of born
// with ids that begin alike. Each shard has a mark, the sequence
// number up to which the keys of the log are in the tree. Its recent keys are those of the
// entries above the mark; a start finds them again in the log. When there are too many
// recent keys, the shard that has waited longest moves into the tree, so that each page
// that is written takes several keys. One key after the other would take a page each.
//
// A stranger can send many keys to one shard: tokens whose hashes begin alike, or envelopes
// of one signature. This costs the others nothing. A shard is sorted, so a lookup is a
// binary search. A full shard moves before its turn, and its keys are neighbours in the
// tree. And no mark falls far behind the log.
//
// Keys of an envelope that was removed may stay in the tree for some time: whoever looks
// something up asks the log whether the entry is still there. Their places in the tree are
// as scattered as those of new keys, so they are deleted together with them: they wait in
// memory until their shard moves into the tree, or too many wait. Those that wait at the end
// of a process are never deleted. Keys of tokens stay, whatever they paid for.
type index struct {
	secret []byte                         // see signatureTag
	hash   func([]byte) [sha256.Size]byte // of signatures; tests have them collide
	merged marks
	recent [parts][]key           // each ascending
	tails  map[storage.Seq]idTail // of the recent keys of born
	count  int                    // recent keys of all shards
	max    int                    // recent keys that mergeShards leaves
	gone   [shards][]key          // of removed envelopes, to be deleted from the tree
	goners int                    // keys of all shards in gone

	marked  bool     // whether there may be firsts
	changes *changes // behind a compaction, nil without one
}

const (
	shards = 256
	// parts is how many slices the recent keys are in: a quarter of a shard is short enough to
	// insert a key.
	parts = 4 * shards
	// maxRecent is how many keys may be recent. More means fewer pages to write, but 32
	// bytes of memory each and more of the log to read at a start: up to twice as many
	// entries.
	maxRecent = 128 << 10
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
	// idTail is what the tag of a born has not of an id.
	idTail [len(storage.ID{}) - bornIDSize]byte
	// marks has the sequence number up to which each shard is in the tree.
	marks [shards]storage.Seq
)

const (
	envelopeKind = 0
	tokenKind    = 1
	firstKind    = 2
	idKind       = 3
	bornKind     = 4

	signatureTagSize = 8 // of the tag of an envelope
)

func tokenTag(n storage.Nullifier) tag { return tag(storage.NewTokenID(n)) }

func tailOf(id storage.ID) idTail { return idTail(id[bornIDSize:]) }

// idTag returns the tag of an id.
func idTag(id storage.ID) tag { return tag(id[:tagSize]) }

const (
	bornSize   = 4                  // of the hour in the tag of a born
	bornIDSize = tagSize - bornSize // of the id in it
)

func newBornKey(k storage.Key, seq storage.Seq) key {
	t := tag(binary.BigEndian.AppendUint32(make([]byte, 0, tagSize), uint32(k.Born))[:tagSize])
	copy(t[bornSize:], k.ID[:])
	return newKey(bornKind, t, seq)
}

func (k *key) bornOf() storage.Hour { return storage.Hour(binary.BigEndian.Uint32(k[1:])) }

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

// shardsPerKind is how many shards each kind but the firsts has: envelopes, tokens, ids,
// born.
const shardsPerKind = shards / 4

// shardOf returns the shard of the keys with a prefix of two bytes or more, or of six for
// those of born. Firsts have none.
func shardOf(prefix []byte) int {
	switch prefix[0] {
	case idKind:
		return 2*shardsPerKind + int(prefix[1]>>2)
	case bornKind:
		return 3*shardsPerKind + int(prefix[1+bornSize]>>2)
	}
	return int(prefix[0])*shardsPerKind + int(prefix[1]>>2)
}

// shardStart returns two bytes with which the first possible key of a shard of envelopes or
// tokens begins.
func shardStart(shard int) []byte {
	return []byte{byte(shard / shardsPerKind), byte(shard % shardsPerKind << 2)}
}

// partOf returns the part of the recent keys with a prefix, which is as long as for shardOf.
func partOf(prefix []byte) int {
	at := 1
	if prefix[0] == bornKind {
		at += bornSize
	}
	return 4*shardOf(prefix) + int(prefix[at]&3)
}

// recentFrom returns the recent keys from prefix on that are in the part of prefix.
func (x *index) recentFrom(prefix []byte) []key {
	part := x.recent[partOf(prefix)]
	return part[searchKeys(part, prefix):]
}

// searchKeys returns the place of the first of some keys from prefix on.
func searchKeys(keys []key, prefix []byte) int {
	i, _ := slices.BinarySearchFunc(keys, prefix, func(k key, p []byte) int { return bytes.Compare(k[:], p) })
	return i
}

// recentOf yields the recent keys of a shard from prefix on. They are ascending, apart from
// those of born.
func (x *index) recentOf(shard int, prefix []byte) iter.Seq[key] {
	return func(yield func(key) bool) {
		for _, part := range x.partsOf(shard) {
			for _, k := range part[searchKeys(part, prefix):] {
				if !yield(k) {
					return
				}
			}
		}
	}
}

func (x *index) partsOf(shard int) [][]key { return x.recent[4*shard : 4*shard+4] }

// recentCount returns how many recent keys a shard has.
func (x *index) recentCount(shard int) (n int) {
	for _, part := range x.partsOf(shard) {
		n += len(part)
	}
	return n
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
	part := &x.recent[partOf(k[:])]
	*part = slices.Insert(*part, searchKeys(*part, k[:]), k)
	x.count++
}

// dropKey drops a key from the recent ones, if it is there.
func (x *index) dropKey(k key) {
	part := &x.recent[partOf(k[:])]
	if i := searchKeys(*part, k[:]); i < len(*part) && (*part)[i] == k {
		*part = slices.Delete(*part, i, i+1)
		x.count--
		if k[0] == bornKind {
			delete(x.tails, k.seqOf())
		}
	}
}

// putKey puts a recent key into the tree.
func (x *index) putKey(tree indexTree, k key) error {
	if k[0] != bornKind {
		return tree.Put(k[:], nil)
	}
	tail, ok := x.tails[k.seqOf()]
	if !ok {
		return errors.New("the rest of the id of a recent key is not known")
	}
	return tree.Put(k[:], tail[:])
}

// deleteGone deletes the keys of a shard that are to be deleted from the tree.
func (x *index) deleteGone(tree indexTree, shard int) error {
	keys := x.gone[shard]
	slices.SortFunc(keys, func(a, b key) int { return bytes.Compare(a[:], b[:]) })
	for i := range keys {
		if err := tree.Delete(keys[i][:]); err != nil {
			return err
		}
	}
	return nil
}

// mergeShards puts shards into the tree until no shard is full and few enough recent keys
// remain, and returns them. It leaves out the keys in dropped. The log ends at last. The
// caller drops the shards with forgetShards once the transaction is committed, and not
// otherwise.
func (x *index) mergeShards(tree indexTree, last storage.Seq, dropped []key) (moved []int, _ error) {
	merged, count := x.merged, x.count
	move := func(s int) error {
		for k := range x.recentOf(s, nil) {
			if slices.Contains(dropped, k) {
				continue
			}
			if err := x.putKey(tree, k); err != nil {
				return err
			}
		}
		if err := x.deleteGone(tree, s); err != nil {
			return err
		}
		count -= x.recentCount(s)
		merged[s] = last
		moved = append(moved, s)
		return nil
	}
	for s := range shards {
		if x.recentCount(s) > x.max/maxFullShards {
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
		x.count -= x.recentCount(s)
		for k := range x.recentOf(s, nil) {
			if k[0] == bornKind {
				delete(x.tails, k.seqOf())
			}
		}
		clear(x.partsOf(s))
		x.merged[s] = last
		x.forgetGone(s)
	}
}

func (x *index) forgetGone(shard int) {
	x.goners -= len(x.gone[shard])
	x.gone[shard] = nil
}

// loadRecent reads the recent keys from the log, and adds to hours what their bucket does not
// count.
func (x *index) loadRecent(tx *bbolt.Tx, st *state, hours *hourTable) error {
	x.secret, x.merged = bytes.Clone(tx.Bucket(metaBucket).Get(secretKey)), st.merged
	x.recent, x.tails, x.count = [parts][]key{}, make(map[storage.Seq]idTail), 0
	first, _ := tx.Bucket(indexBucket).Cursor().Seek([]byte{firstKind})
	x.marked = len(first) > 0 && first[0] == firstKind
	log, buf := tx.Bucket(logBucket), make([]byte, 0, maxPieces*pieceSize)
	for seq := max(min(slices.Min(x.merged[:]), st.counted)+1, st.lowest); seq <= st.last; seq++ {
		r, gone, err := readRecord(log, seq, buf)
		if gone && st.floor == 0 {
			err = storefile.CorruptError("an entry of the log is missing")
		}
		if err != nil {
			return err
		}
		if gone {
			continue
		}
		if seq > st.counted {
			hours.apply(hourChanges{r.born: {1, int64(r.size())}}, false)
		}
		for _, k := range x.keysOf(&r, seq) {
			if seq <= x.merged[shardOf(k[:])] {
				continue
			}
			part := &x.recent[partOf(k[:])]
			*part = append(*part, k)
			x.count++
			if k[0] == bornKind {
				x.tails[seq] = tailOf(r.id)
			}
		}
	}
	for i := range x.recent {
		slices.SortFunc(x.recent[i], func(a, b key) int { return bytes.Compare(a[:], b[:]) })
	}
	return nil
}

// keysOf returns the keys of an entry of the log.
func (x *index) keysOf(r *record, seq storage.Seq) []key {
	keys := []key{
		newKey(envelopeKind, x.envelopeTag(r.signature, r.id), seq),
		newKey(idKind, idTag(r.id), seq),
		newBornKey(storage.Key{Born: r.born, ID: r.id}, seq),
	}
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
