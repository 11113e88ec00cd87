package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/cwtch-relay/cwtch-relay/core/scan"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// finders is how many calls of Find are under way at a time.
const finders = 4

// logState is what is remembered of the log.
type logState struct {
	ids   *scan.IDSet
	hours hourTable
	first storage.Seq
	last  storage.Seq
}

// tally counts entries with a fault of one kind.
type tally struct {
	count uint64
	where scan.Range // the first and the last
}

func (t *tally) add(seq storage.Seq) {
	if t.count == 0 {
		t.where.First = seq
	}
	t.count++
	t.where.Last = max(t.where.Last, seq)
}

// logTallies are the faults of single entries.
type logTallies struct {
	forged, twice, expired          tally
	unknown, otherByID              tally
	unsigned, otherBySig, forgotten tally
}

func (c *checker) addTally(t tally, text string) {
	if t.count > 0 {
		c.report.addFault(fmt.Sprintf("envelopes %v of the log", t.where), fmt.Sprintf("%d of them %s", t.count, text))
	}
}

// checkLog reads the log, and asks for each entry by its id and by its signature.
func (c *checker) checkLog(ctx context.Context) error {
	c.log = logState{ids: scan.NewIDSet(), hours: newHourTable()}
	var found logTallies
	var batch []storage.Entry
	for e, err := range scan.Entries(ctx, c.store, 0) {
		if err != nil {
			if err := c.noteFailure(fmt.Sprintf("the log behind envelope %d", c.log.last), err); err != nil {
				return err
			}
			break
		}
		c.noteEntry(&e, &found)
		if batch = append(batch, e); len(batch) == storage.MaxGet {
			if err := c.checkLookups(ctx, batch, &found); err != nil {
				return err
			}
			batch = batch[:0]
			c.progress(Progress{Envelopes, c.report.Envelopes, c.info.Count})
		}
	}
	if err := c.checkLookups(ctx, batch, &found); err != nil {
		return err
	}
	c.progress(Progress{Envelopes, c.report.Envelopes, c.info.Count})
	c.reportLog(found)
	return nil
}

// noteEntry checks an entry by itself, and remembers it.
func (c *checker) noteEntry(e *storage.Entry, found *logTallies) {
	if c.info.Floor == 0 {
		c.report.Missing.Add(c.log.last+1, e.Seq-1)
	}
	if c.log.first == 0 {
		c.log.first = e.Seq
	}
	c.log.last = e.Seq
	c.report.Envelopes++
	c.log.hours.add(storage.Key{Born: e.Born, ID: e.ID}, uint64(len(e.Signature)+len(e.Ciphertext)))
	if storage.NewID(e.Signature, e.Ciphertext) != e.ID {
		found.forged.add(e.Seq)
	}
	if !c.log.ids.Add(e.ID) {
		found.twice.add(e.Seq)
	}
	if e.Born < c.info.Floor {
		found.expired.add(e.Seq)
	}
}

// reportLog reports what is wrong with the log.
func (c *checker) reportLog(found logTallies) {
	r := &c.report
	c.addTally(found.forged, "do not have the id that they say")
	c.addTally(found.twice, "are there twice")
	c.addTally(found.expired, "were born before the floor")
	c.addTally(found.unknown, "are not found by their id")
	c.addTally(found.otherByID, "are something else when asked for by their id")
	c.addTally(found.unsigned, "are not found by their signature, so their readers would get everything again")
	c.addTally(found.otherBySig, "are something else when asked for by their signature, so their readers could miss messages")
	if n := found.forgotten.count; n > 0 {
		r.Unverified = append(r.Unverified, fmt.Sprintf("%d signatures that are not found: that is as it should be if older envelopes with the same signatures were pruned", n))
	}
	if c.info.Floor == 0 {
		r.Missing.Add(c.log.last+1, c.info.Last)
	}
	if n := r.Missing.Count; n > 0 {
		r.addFault("envelopes "+r.Missing.Describe(5)+" of the log", fmt.Sprintf("%d envelopes are missing", n))
	}
	r.MissingEnvelopes = max(r.Missing.Count, c.info.Count-min(c.info.Count, r.Envelopes))
	if r.Envelopes+r.Missing.Count != c.info.Count {
		r.addFault("the number of envelopes", fmt.Sprintf("the store counts %d, and the log has %d", c.info.Count, r.Envelopes))
	}
	if c.log.last > c.info.Last || r.MissingEnvelopes == 0 && c.log.first != c.info.First {
		r.addFault("the ends of the log", fmt.Sprintf("the store says %d and %d, and the log has %d and %d", c.info.First, c.info.Last, c.log.first, c.log.last))
	}
	if c.info.InUse > c.info.Bytes {
		r.addFault("the size of the store", fmt.Sprintf("%d of %d bytes are in use", c.info.InUse, c.info.Bytes))
	}
}

// checkLookups asks for entries by their ids and by their signatures.
func (c *checker) checkLookups(ctx context.Context, batch []storage.Entry, found *logTallies) error {
	if c.index != nil {
		if err := c.checkGet(ctx, batch, found); err != nil {
			return err
		}
	}
	seqs := make([]storage.Seq, len(batch)) // 0 if the signature is not found
	g, callCtx := errgroup.WithContext(ctx)
	g.SetLimit(finders)
	for i := range batch {
		g.Go(func() (err error) {
			if seqs[i], err = c.store.Find(callCtx, batch[i].Signature); errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrCorrupt) {
				seqs[i], err = 0, nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("find signatures: %w", err)
	}
	for i, seq := range seqs {
		switch e := &batch[i]; {
		case seq == e.Seq:
		case seq == 0 && c.info.Floor == 0:
			found.unsigned.add(e.Seq)
		case seq == 0:
			found.forgotten.add(e.Seq)
		default:
			first, err := c.readEntry(ctx, seq)
			if err != nil {
				return err
			}
			if seq > e.Seq && c.info.Floor == 0 || first.Seq != seq || !bytes.Equal(first.Signature, e.Signature) {
				found.otherBySig.add(e.Seq)
			}
		}
	}
	return nil
}

// readEntry reads one entry. It is the zero Entry if it is not there.
func (c *checker) readEntry(ctx context.Context, seq storage.Seq) (e storage.Entry, err error) {
	page, err := c.store.Log(ctx, storage.LogRequest{From: seq, Max: 1})
	if err != nil && !errors.Is(err, storage.ErrCorrupt) {
		return e, fmt.Errorf("read envelope %d: %w", seq, err)
	}
	if len(page.Entries) > 0 {
		e = page.Entries[0]
	}
	return e, nil
}

// checkGet asks for entries by their ids.
func (c *checker) checkGet(ctx context.Context, batch []storage.Entry, found *logTallies) error {
	ids := make([]storage.ID, len(batch))
	for i := range batch {
		ids[i] = batch[i].ID
	}
	for len(ids) > 0 {
		got, err := c.index.Get(ctx, ids)
		if err != nil && !errors.Is(err, storage.ErrCorrupt) {
			return fmt.Errorf("get entries by their ids: %w", err)
		}
		n := 0 // of ids that are answered
		for i := range got {
			for n < len(ids) && ids[n] != got[i].ID {
				found.unknown.add(batch[n].Seq)
				n++
			}
			if n == len(ids) {
				break
			}
			if !sameEntry(&got[i], &batch[n]) {
				found.otherByID.add(batch[n].Seq)
			}
			n++
		}
		if len(got) == 0 {
			for _, e := range batch {
				found.unknown.add(e.Seq)
			}
			n = len(ids)
		}
		ids, batch = ids[n:], batch[n:]
	}
	return nil
}

func sameEntry(a, b *storage.Entry) bool {
	return a.Seq == b.Seq && a.ID == b.ID && a.Born == b.Born && bytes.Equal(a.Signature, b.Signature) && bytes.Equal(a.Ciphertext, b.Ciphertext)
}
