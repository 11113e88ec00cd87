//go:build linux && amd64

package powerloss

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// promised is what a store has acknowledged, and what it was asked for.
type promised struct {
	stored  map[int]storage.Seq // by the numbers of records
	spent   map[int]bool        // without an envelope
	batches map[step]bool       // that were appended, or begun
}

func newPromised() *promised {
	return &promised{make(map[int]storage.Seq), make(map[int]bool), make(map[step]bool)}
}

func (p *promised) clone() *promised {
	return &promised{maps.Clone(p.stored), maps.Clone(p.spent), maps.Clone(p.batches)}
}

// noteRequest notes that steps may have been begun.
func (p *promised) noteRequest(steps []step) {
	for _, s := range steps {
		if s.Do == "append" {
			p.batches[s] = true
		}
	}
}

// noteResult notes what a store said to steps.
func (p *promised) noteResult(steps []step, e event) {
	if e.kind != sayEvent {
		return
	}
	s := parseSaid(e)
	if s.Error != "" {
		return
	}
	step := steps[s.Step]
	for i := range step.N {
		n := step.First + i
		if step.Do == "spend" {
			p.spent[n] = true
		} else if o := s.Outcomes[i]; o.Status != storage.Spent {
			p.stored[n] = o.Seq
		}
	}
}

// checkStore opens the store at path and returns how it breaks the promise.
func (p *promised) checkStore(plugin, path string) error {
	s, err := openStore(plugin, path)
	if err != nil {
		return err
	}
	defer s.Close()
	ctx := context.Background()
	there, last, err := p.readLog(ctx, s)
	if err != nil {
		return err
	}
	for n, seq := range p.stored {
		if there[n] != seq {
			return fmt.Errorf("record %d was acknowledged at %d and is at %d", n, seq, there[n])
		}
	}
	for b := range p.batches {
		count := 0
		for i := range b.N {
			if there[b.First+i] != 0 {
				count++
			}
		}
		if count != 0 && count != b.N {
			return fmt.Errorf("%d of a batch of %d are there", count, b.N)
		}
	}
	return p.checkTokens(ctx, s, last)
}

// readLog returns where the records are, and the end of the log.
func (p *promised) readLog(ctx context.Context, s storage.Store) (there map[int]storage.Seq, last storage.Seq, err error) {
	numbers := make(map[storage.ID]int)
	for b := range p.batches {
		for i := range b.N {
			numbers[numberedRecord(b.First+i).ID] = b.First + i
		}
	}
	there = make(map[int]storage.Seq)
	for {
		page, err := s.Log(ctx, storage.LogRequest{From: last + 1})
		if err != nil {
			return nil, 0, err
		}
		if len(page.Entries) == 0 {
			if page.Last != last {
				return nil, 0, fmt.Errorf("the log says that it ends at %d and ends at %d", page.Last, last)
			}
			return there, last, nil
		}
		for _, e := range page.Entries {
			last++
			n, known := numbers[e.ID]
			want := numberedRecord(n)
			if e.Seq != last || !known || there[n] != 0 || !bytes.Equal(e.Ciphertext, want.Ciphertext) || !bytes.Equal(e.Signature, want.Signature) {
				return nil, 0, fmt.Errorf("at %d the log has an entry that is out of order, unknown, changed or there before", last)
			}
			there[n] = e.Seq
		}
	}
}

// checkTokens tries to spend every token again, repeats every record, and
// appends another one.
func (p *promised) checkTokens(ctx context.Context, s storage.Store, last storage.Seq) error {
	var batch []storage.Record
	var want []storage.Outcome
	add := func(r storage.Record, status storage.OutcomeStatus, seq storage.Seq) {
		batch, want = append(batch, r), append(want, storage.Outcome{Status: status, Seq: seq})
	}
	for _, n := range slices.Sorted(maps.Keys(p.stored)) {
		theft := numberedRecord(n + 1<<20)
		theft.Nullifier = numberedRecord(n).Nullifier
		add(theft, storage.Spent, 0)
		add(numberedRecord(n), storage.Replayed, p.stored[n])
	}
	for _, n := range slices.Sorted(maps.Keys(p.spent)) {
		add(numberedRecord(n), storage.Spent, 0)
	}
	add(numberedRecord(1<<21), storage.Stored, last+1)
	for len(batch) > 0 {
		k := min(len(batch), storage.MaxBatch)
		got, err := s.Append(ctx, batch[:k])
		if err != nil {
			return err
		}
		for i, o := range got {
			if o != want[i] {
				return fmt.Errorf("outcome %d is %v, want %v", i, o, want[i])
			}
		}
		batch, want = batch[k:], want[k:]
	}
	return nil
}
