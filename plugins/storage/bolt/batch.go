package bolt

import (
	"bytes"
	"errors"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// batch is the transaction of one Append. It only reads the index; Append changes the
// index once the transaction is committed.
type batch struct {
	index     *index
	outcomes  []storage.Outcome
	recordBuf []byte // of the values of the log, which must last until the commit

	// What the batch itself has stored and spent.
	stored map[storage.ID]storage.Seq
	spent  map[tag]payment
	signed map[tag]storage.Seq // one envelope under each tag of a signature

	keys    []key       // new recent keys of the index
	dropped []key       // recent keys that the index loses
	moved   []int       // shards of the index moved into the tree
	before  storage.Seq // end of the log before the batch

	table     *hourTable
	hours     hourChanges
	rewritten bool // whether the batch changes what readers have seen
	marked    bool // whether it has put firsts into the tree

	state  state
	log    *bbolt.Bucket
	tree   indexTree
	search *bbolt.Cursor // of tree
}

// payment is what a token was spent on. The sequence number is 0 if Spend recorded it,
// whether the envelope is in the log or not.
type payment struct {
	id  storage.ID
	seq storage.Seq
}

// errUnchanged ends a transaction that has nothing to commit.
var errUnchanged = errors.New("nothing to commit")

func newBatch(x *index, table *hourTable, n int, recordBuf []byte) *batch {
	return &batch{
		index:     x,
		table:     table,
		hours:     make(hourChanges),
		outcomes:  make([]storage.Outcome, n),
		recordBuf: recordBuf,
		stored:    make(map[storage.ID]storage.Seq, n),
		spent:     make(map[tag]payment, n),
		signed:    make(map[tag]storage.Seq, n),
		keys:      make([]key, 0, 4*n),
	}
}

func (b *batch) applyRecords(tx *bbolt.Tx, records []storage.Record) (err error) {
	if b.state, err = readState(tx); err != nil {
		return err
	}
	b.before = b.state.last
	tokens := b.state.tokens
	b.log, b.tree = tx.Bucket(logBucket), b.index.treeOf(tx)
	b.log.FillPercent = 1 // nothing is ever put between two entries
	b.search = b.tree.Cursor()
	for i := range records {
		if b.outcomes[i], err = b.appendRecord(&records[i]); err != nil {
			return err
		}
	}
	if b.state.last == b.before && b.state.tokens == tokens && !b.rewritten {
		return errUnchanged
	}
	return b.writeMeta(tx)
}

func (b *batch) appendRecord(r *storage.Record) (storage.Outcome, error) {
	if r.Nullifier != nil {
		if p, spent, err := b.findPayment(tokenTag(*r.Nullifier)); spent || err != nil {
			return b.answerSpent(r, p, err)
		}
	}
	if r.Born < b.state.floor {
		return storage.Outcome{Status: storage.Expired}, nil
	}
	t := b.index.signatureTag(r.Signature)
	one := b.envelopeByTag(t)
	if one == 0 { // mostly: neither the envelope nor its signature is known
		if err := b.deleteFirsts(t); err != nil {
			return storage.Outcome{}, err
		}
		return b.storeEnvelope(r, t)
	}
	switch seq, err := b.findEnvelope(r); {
	case err != nil:
		return storage.Outcome{}, err
	case seq != 0:
		return b.recordDuplicate(r, seq)
	}
	seqs, marked := firstEnvelopes(b.search, t, one)
	first, err := b.state.signedBy(b.log, seqs, r.Signature)
	switch {
	case err != nil:
		return storage.Outcome{}, err
	case first != 0 && r.Nullifier != nil && len(r.Signature) > 0:
		return storage.Outcome{Status: storage.Conflict}, nil
	case first == 0:
		seqs = append(seqs, b.state.last+1)
	}
	if !marked || first == 0 {
		if err := b.markFirsts(t, seqs); err != nil {
			return storage.Outcome{}, err
		}
	}
	return b.storeEnvelope(r, t)
}

// markFirsts puts firsts of signatures with the tag t into the tree. It deletes those of
// pruned envelopes: any first says that the signatures without one are forgotten.
func (b *batch) markFirsts(t tag, seqs []storage.Seq) error {
	b.marked = true
	for _, seq := range seqs {
		k, kept := firstKey(t, seq), true
		var err error
		if seq <= b.state.last {
			_, kept, err = b.state.readKept(b.log, seq, nil)
		}
		switch {
		case err != nil:
			return err
		case kept:
			err = b.tree.Put(k[:], nil)
		default:
			err = b.tree.Delete(k[:])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// deleteFirsts deletes the firsts of signatures with the tag t, of which no envelope is left.
func (b *batch) deleteFirsts(t tag) error {
	if !b.index.marked {
		return nil
	}
	k := firstKey(t, 0)
	for _, seq := range seqsInTree(b.search, k.keyPrefix(signatureTagSize)) {
		k := firstKey(t, seq)
		if err := b.tree.Delete(k[:]); err != nil {
			return err
		}
	}
	return nil
}

// envelopeByTag returns the place of an envelope whose signature has the tag t, or 0.
func (b *batch) envelopeByTag(t tag) storage.Seq {
	if seq, ok := b.signed[t]; ok {
		return seq
	}
	k, _, _ := b.index.lookUp(b.search, envelopePrefix(t))
	return k.seqOf()
}

// recordDuplicate answers a record whose envelope is at seq, and spends its token.
func (b *batch) recordDuplicate(r *storage.Record, seq storage.Seq) (storage.Outcome, error) {
	if r.Nullifier != nil {
		// The log does not mention this token, so it goes into the tree at once.
		k := newKey(tokenKind, tokenTag(*r.Nullifier), seq)
		if err := b.tree.Put(k[:], nil); err != nil {
			return storage.Outcome{}, err
		}
		b.notePayment(r, seq)
	}
	return storage.Outcome{Status: storage.Duplicate, Seq: seq}, b.lowerBorn(seq, r.Born)
}

// lowerBorn lowers the hour of birth of an entry of which there was a Duplicate.
func (b *batch) lowerBorn(seq storage.Seq, other storage.Hour) error {
	var data []byte
	for i := range maxPieces {
		piece := b.log.Get(pieceKey(seq, i))
		data = append(data, piece...)
		if len(piece) < pieceSize {
			break
		}
	}
	r, err := decodeRecord(seq, data)
	if err != nil {
		return err
	}
	first := r.born + r.aged
	born := storage.LowerBorn(first, r.born, other)
	if born == r.born {
		return nil
	}
	setBorn(seq, data, born, first-born)
	b.index.changes.noteEntry(seq)
	if err := b.log.Put(pieceKey(seq, 0), data[:min(len(data), pieceSize)]); err != nil {
		return err
	}
	before, after := newBornKey(storage.Key{Born: r.born, ID: r.id}, seq), newBornKey(storage.Key{Born: born, ID: r.id}, seq)
	b.dropped = append(b.dropped, before)
	b.keys = slices.DeleteFunc(b.keys, func(k key) bool { return k == before })
	b.hours.add(r.born, -1, -int64(r.size()))
	b.hours.add(born, 1, int64(r.size()))
	b.rewritten = true
	return errors.Join(b.tree.Delete(before[:]), b.tree.Put(after[:], bytes.Clone(r.id[bornIDSize:])))
}

func (b *batch) notePayment(r *storage.Record, seq storage.Seq) {
	b.spent[tokenTag(*r.Nullifier)] = payment{r.ID, seq}
	b.state.tokens++
}

// answerSpent answers a record whose token was spent before.
func (b *batch) answerSpent(r *storage.Record, p payment, err error) (storage.Outcome, error) {
	if err == nil && p.id == r.ID && p.seq == 0 {
		p.seq, err = b.findEnvelope(r)
	}
	if err != nil || p.id != r.ID || p.seq == 0 {
		return storage.Outcome{Status: storage.Spent}, err
	}
	return storage.Outcome{Status: storage.Replayed, Seq: p.seq}, nil
}

// findPayment returns what a token was spent on, if it was.
func (b *batch) findPayment(t tag) (p payment, spent bool, err error) {
	if p, spent := b.spent[t]; spent {
		return p, true, nil
	}
	k, id, spent := b.index.findToken(b.search, t)
	if !spent {
		return payment{}, false, nil
	}
	if seq := k.seqOf(); seq > 0 {
		r, kept, err := b.state.readKept(b.log, seq, nil)
		if !kept {
			return payment{}, true, err // for what it paid is not in the log
		}
		return payment{r.id, seq}, true, nil
	}
	p.id, err = paidFor(b.log, k, id)
	return p, true, err
}

// findEnvelope returns the place of an envelope in the log, or 0.
func (b *batch) findEnvelope(r *storage.Record) (storage.Seq, error) {
	if seq, ok := b.stored[r.ID]; ok {
		return seq, nil
	}
	k := newKey(envelopeKind, b.index.envelopeTag(r.Signature, r.ID), 0)
	for _, seq := range b.index.findSeqs(b.search, k.keyPrefix(tagSize)) {
		if other, kept, err := b.state.readKept(b.log, seq, nil); err != nil || kept && other.id == r.ID {
			return seq, err
		}
	}
	return 0, nil
}

// storeEnvelope puts an envelope, whose signature has the tag t, at the end of the log.
func (b *batch) storeEnvelope(r *storage.Record, t tag) (storage.Outcome, error) {
	b.state.last++
	b.state.count++
	seq := b.state.last
	start := len(b.recordBuf)
	b.recordBuf = encodeRecord(b.recordBuf, seq, r)
	if err := putRecord(b.log, seq, b.recordBuf[start:]); err != nil {
		return storage.Outcome{}, err
	}
	b.stored[r.ID], b.signed[t] = seq, seq
	b.hours.add(r.Born, 1, int64(len(r.Signature)+len(r.Ciphertext)))
	copy(t[signatureTagSize:], r.ID[:])
	b.keys = append(b.keys,
		newKey(envelopeKind, t, seq),
		newKey(idKind, idTag(r.ID), seq),
		newBornKey(storage.Key{Born: r.Born, ID: r.ID}, seq))
	if r.Nullifier != nil {
		b.keys = append(b.keys, newKey(tokenKind, tokenTag(*r.Nullifier), seq))
		b.notePayment(r, seq)
	}
	return storage.Outcome{Status: storage.Stored, Seq: seq}, nil
}

// writeMeta writes the counters, and moves shards of the index into the tree.
func (b *batch) writeMeta(tx *bbolt.Tx) (err error) {
	meta := tx.Bucket(metaBucket)
	if b.moved, err = b.index.mergeShards(b.tree, b.before, b.dropped); err != nil {
		return err
	}
	if len(b.moved) > 0 || b.rewritten {
		if err := b.table.write(tx.Bucket(hoursBucket), b.hours); err != nil {
			return err
		}
		b.state.counted = b.state.last
	}
	for _, s := range b.moved {
		b.state.merged[s] = b.before
	}
	if len(b.moved) > 0 {
		if err := meta.Put(marksKey, b.state.merged.marshal()); err != nil {
			return err
		}
	}
	return meta.Put(stateKey, b.state.marshal())
}
