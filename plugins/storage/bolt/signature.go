package bolt

import (
	"bytes"
	"crypto/sha256"
	"iter"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// secretSize is the size of the secret in the bucket meta. Files of the formats 1 and 2 have
// none.
const secretSize = 32

// envelopeTag returns the tag of an envelope.
func (x *index) envelopeTag(signature []byte, id storage.ID) (t tag) {
	t = x.signatureTag(signature)
	copy(t[signatureTagSize:], id[:])
	return t
}

// signatureTag returns the tag of a first. The hash is SHA-256(secret ‖ signature): without
// the secret of the file nobody can make signatures with one tag, or with tags of one
// shard. In a file without a secret, two with one tag take 2^32 hashes, and ten take more
// than 2^57.
func (x *index) signatureTag(signature []byte) (t tag) {
	var room [secretSize + 96]byte
	h := x.hash(append(append(room[:0], x.secret...), signature...))
	copy(t[:signatureTagSize], h[:])
	return t
}

// envelopePrefix returns the prefix of the keys of envelopes whose signatures have the
// tag t.
func envelopePrefix(t tag) []byte {
	k := newKey(envelopeKind, t, 0)
	return k.keyPrefix(signatureTagSize)
}

// firstKey names the envelope at seq as the first of its signature, which has the
// tag t.
func firstKey(t tag, seq storage.Seq) key {
	clear(t[signatureTagSize:])
	return newKey(firstKind, t, seq)
}

// firstEnvelopes returns the first envelope of each signature with the tag t, which the
// envelope at one has. marked reports whether there are firsts; a single envelope has none.
func firstEnvelopes(tree *bbolt.Cursor, t tag, one storage.Seq) (seqs []storage.Seq, marked bool) {
	k := firstKey(t, 0)
	if seqs = seqsInTree(tree, k.keyPrefix(signatureTagSize)); len(seqs) > 0 {
		return seqs, true
	}
	return []storage.Seq{one}, false
}

// signedBy returns the one of seqs that is in the log and has the signature, or 0.
func (st *state) signedBy(log *bbolt.Bucket, seqs []storage.Seq, signature []byte) (storage.Seq, error) {
	for _, seq := range seqs {
		r, kept, err := st.readKept(log, seq, nil)
		if err != nil {
			return 0, err
		}
		if kept && bytes.Equal(r.signature, signature) {
			return seq, nil
		}
	}
	return 0, nil
}

// eachEnvelope yields the keys of envelopes from the given one on, ascending.
func (x *index) eachEnvelope(tree *bbolt.Cursor, from key) iter.Seq[key] {
	return func(yield func(key) bool) {
		k, _ := tree.Seek(from[:])
		for shard := shardOf(from[:]); shard < shardsPerKind; shard++ {
			for r := range x.recentOf(shard, nil) {
				for ; len(k) == len(r) && bytes.Compare(k, r[:]) < 0; k, _ = tree.Next() {
					if !yield(key(k)) {
						return
					}
				}
				if bytes.Compare(r[:], from[:]) >= 0 && !yield(r) {
					return
				}
			}
		}
		for ; len(k) == len(key{}) && k[0] == envelopeKind && yield(key(k)); k, _ = tree.Next() {
		}
	}
}

// markedPerCommit is how many signatures one transaction marks.
const markedPerCommit = 4096

// markFirsts adds the firsts of signatures that share a tag to a file whose format has
// none. It begins at from and returns where to go on; done means that it has seen all.
func (x *index) markFirsts(tx *bbolt.Tx, from key) (next key, done bool, err error) {
	log, tree := tx.Bucket(logBucket), tx.Bucket(indexBucket)
	var marks []key
	var g tagGroup
	mark := func() error {
		firsts, err := g.firstKeys(log)
		marks = append(marks, firsts...)
		g.seqs = g.seqs[:0]
		return err
	}
	done = true
	for k := range x.eachEnvelope(tree.Cursor(), from) {
		if k == g.key { // recent and in the tree
			continue
		}
		if len(g.seqs) > 0 && !bytes.Equal(k.keyPrefix(signatureTagSize), g.key.keyPrefix(signatureTagSize)) {
			if err := mark(); err != nil {
				return key{}, false, err
			}
			if len(marks) >= markedPerCommit {
				next, done = k, false
				break
			}
		}
		g.key, g.seqs = k, append(g.seqs, k.seqOf())
	}
	if err := mark(); err != nil {
		return key{}, false, err
	}
	for _, k := range marks {
		if err := tree.Put(k[:], nil); err != nil {
			return key{}, false, err
		}
	}
	return next, done, nil
}

// tagGroup is the envelopes whose signatures have one tag.
type tagGroup struct {
	key  key // of one of them
	seqs []storage.Seq
}

// firstKeys returns the keys of the first envelope of each signature, and none for a single
// envelope, the usual case. It reads in the order of the log: in the order of the index each
// envelope of a crowd would take a page of its own from the disk, and a start would take
// too long.
func (g *tagGroup) firstKeys(log *bbolt.Bucket) (keys []key, _ error) {
	if len(g.seqs) < 2 {
		return nil, nil
	}
	slices.Sort(g.seqs)
	known := make(map[[sha256.Size]byte]bool)
	for _, seq := range g.seqs {
		r, gone, err := readRecord(log, seq, nil)
		if gone {
			err = storefile.CorruptError("an entry of the log is missing")
		}
		if err != nil {
			return nil, err
		}
		if signature := sha256.Sum256(r.signature); !known[signature] {
			known[signature] = true
			keys = append(keys, firstKey(tag(g.key[1:1+tagSize]), seq))
		}
	}
	return keys, nil
}
