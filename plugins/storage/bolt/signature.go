package bolt

import (
	"bytes"
	"crypto/sha256"
	"iter"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// secretSize is that of the secret in the bucket meta, which files of the formats
// 1 and 2 do not have.
const secretSize = 32

// envelopeTag returns the tag of an envelope.
func (x *index) envelopeTag(signature []byte, id storage.ID) (t tag) {
	t = x.signatureTag(signature)
	copy(t[signatureTagSize:], id[:])
	return t
}

// signatureTag returns the tag of a first. The hash is SHA-256(secret ‖ signature):
// nobody who does not know the secret of the file can make signatures with one
// tag, or with tags of one shard. Without a secret, a pair takes 2^32 hashes and
// ten of one tag take more than 2^57.
func (x *index) signatureTag(signature []byte) (t tag) {
	var room [secretSize + 96]byte
	h := x.hash(append(append(room[:0], x.secret...), signature...))
	copy(t[:signatureTagSize], h[:])
	return t
}

// shared returns the prefix of the keys of envelopes whose signatures have the
// tag t.
func shared(t tag) []byte {
	k := newKey(envelopeKind, t, 0)
	return k.prefix(signatureTagSize)
}

// firstKey names the envelope at seq as the first of its signature, which has the
// tag t.
func firstKey(t tag, seq storage.Seq) key {
	clear(t[signatureTagSize:])
	return newKey(firstKind, t, seq)
}

// firsts returns the first envelope of each signature with the tag t, under which
// there is the envelope at one. marked reports whether they have keys of that
// kind, which a single envelope does not have.
func firsts(tree *bbolt.Cursor, t tag, one storage.Seq) (seqs []storage.Seq, marked bool) {
	k := firstKey(t, 0)
	if seqs = inTree(tree, k.prefix(signatureTagSize)); len(seqs) > 0 {
		return seqs, true
	}
	return []storage.Seq{one}, false
}

// signedBy returns the one of seqs that has the signature, or 0.
func signedBy(log *bbolt.Bucket, seqs []storage.Seq, signature []byte) (storage.Seq, error) {
	for _, seq := range seqs {
		r, err := readRecord(log, seq, nil)
		if err != nil {
			return 0, err
		}
		if bytes.Equal(r.signature, signature) {
			return seq, nil
		}
	}
	return 0, nil
}

// envelopes gives the keys of the envelopes from one on, ascending.
func (x *index) envelopes(tree *bbolt.Cursor, from key) iter.Seq[key] {
	return func(yield func(key) bool) {
		k, _ := tree.Seek(from[:])
		for shard := shardOf(from[:]); shard < shards/2; shard++ {
			for _, r := range x.recent[shard] {
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

// maxMarked is how many signatures one transaction marks.
const maxMarked = 4096

// markFirsts marks the first envelopes of signatures that share a tag, in a file
// whose format does not have them. It begins at from and returns where to go on;
// done reports that it is through.
func (x *index) markFirsts(tx *bbolt.Tx, from key) (next key, done bool, err error) {
	log, tree := tx.Bucket(logBucket), tx.Bucket(indexBucket)
	var marks []key
	g := group{log: log}
	done = true
	for k := range x.envelopes(tree.Cursor(), from) {
		if !bytes.Equal(k.prefix(signatureTagSize), g.last.prefix(signatureTagSize)) {
			marks = append(marks, g.marks()...)
			g = group{log: log}
			if len(marks) >= maxMarked {
				next, done = k, false
				break
			}
		}
		if err := g.add(k); err != nil {
			return key{}, false, err
		}
	}
	for _, k := range append(marks, g.marks()...) {
		if err := tree.Put(k[:], nil); err != nil {
			return key{}, false, err
		}
	}
	return next, done, nil
}

// group is the keys of the envelopes with one tag, in the order of the index.
type group struct {
	log    *bbolt.Bucket
	last   key // that was added
	n      int
	firsts map[[sha256.Size]byte]storage.Seq // of the signatures, by their hash
}

func (g *group) add(k key) error {
	g.n++
	if g.n == 1 { // mostly the only one, of which nothing is read
		g.last = k
		return nil
	}
	if g.n == 2 {
		g.firsts = make(map[[sha256.Size]byte]storage.Seq)
		if err := g.read(g.last); err != nil {
			return err
		}
	}
	g.last = k
	return g.read(k)
}

func (g *group) read(k key) error {
	r, err := readRecord(g.log, k.seq(), nil)
	if err != nil {
		return err
	}
	signature := sha256.Sum256(r.signature)
	if seq, ok := g.firsts[signature]; !ok || k.seq() < seq {
		g.firsts[signature] = k.seq()
	}
	return nil
}

func (g *group) marks() (keys []key) {
	for _, seq := range g.firsts {
		keys = append(keys, firstKey(tag(g.last[1:1+tagSize]), seq))
	}
	return keys
}
