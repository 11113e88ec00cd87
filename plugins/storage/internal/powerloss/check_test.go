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
	floor   storage.Hour        // that was acknowledged
	asked   storage.Hour        // the highest that a prune was asked for
}

func newPromised() *promised {
	return &promised{make(map[int]storage.Seq), make(map[int]bool), make(map[step]bool), 0, 0}
}

func (p *promised) clone() *promised {
	return &promised{maps.Clone(p.stored), maps.Clone(p.spent), maps.Clone(p.batches), p.floor, p.asked}
}

// noteRequest notes that steps may have been begun.
func (p *promised) noteRequest(steps []step) {
	for _, s := range steps {
		switch s.Do {
		case "append":
			p.batches[s] = true
		case "prune":
			p.asked = max(p.asked, numberedRecord(s.First).Born)
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
	switch step.Do {
	case "prune":
		p.floor = max(p.floor, numberedRecord(step.First).Born)
		return
	case "compact":
		return
	}
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
	info, err := s.Info(ctx)
	if err != nil {
		return err
	}
	floor := info.Floor
	if floor < p.floor || floor > p.asked {
		return fmt.Errorf("the floor is %d, which was raised to %d and asked to be %d", floor, p.floor, p.asked)
	}
	there, last, err := p.readLog(ctx, s, info)
	if err != nil {
		return err
	}
	for n, seq := range p.stored {
		if numberedRecord(n).Born >= floor && there[n] != seq {
			return fmt.Errorf("record %d was acknowledged at %d and is at %d", n, seq, there[n])
		}
	}
	for b := range p.batches {
		count, all := 0, 0
		for i := range b.N {
			if numberedRecord(b.First+i).Born < floor {
				continue
			}
			all++
			if there[b.First+i] != 0 {
				count++
			}
		}
		if count != 0 && count != all {
			return fmt.Errorf("%d of %d of a batch are there", count, all)
		}
	}
	return p.checkTokens(ctx, s, last, floor)
}

// readLog returns where the records are, and the end of the log.
func (p *promised) readLog(ctx context.Context, s storage.Store, info storage.Info) (there map[int]storage.Seq, last storage.Seq, err error) {
	numbers := make(map[storage.ID]int)
	for b := range p.batches {
		for i := range b.N {
			numbers[numberedRecord(b.First+i).ID] = b.First + i
		}
	}
	there = make(map[int]storage.Seq)
	if info.First > 0 {
		last = info.First - 1
	}
	for {
		page, err := s.Log(ctx, storage.LogRequest{From: last + 1})
		if err != nil {
			return nil, 0, err
		}
		if len(page.Entries) == 0 {
			if page.Last != last && info.Count > 0 || info.Count != uint64(len(there)) {
				return nil, 0, fmt.Errorf("the log says that it ends at %d and ends at %d", page.Last, last)
			}
			return there, page.Last, nil
		}
		for _, e := range page.Entries {
			last++
			n, known := numbers[e.ID]
			want := numberedRecord(n)
			if e.Seq != last || e.Born != want.Born || e.Born < info.Floor || !known || there[n] != 0 || !bytes.Equal(e.Ciphertext, want.Ciphertext) || !bytes.Equal(e.Signature, want.Signature) {
				return nil, 0, fmt.Errorf("at %d the log has an entry that is out of order, unknown, changed or there before", last)
			}
			there[n] = e.Seq
		}
	}
}

// checkTokens tries to spend every token again, repeats every record, and
// appends another one.
func (p *promised) checkTokens(ctx context.Context, s storage.Store, last storage.Seq, floor storage.Hour) error {
	var batch []storage.Record
	var want []storage.Outcome
	add := func(r storage.Record, status storage.OutcomeStatus, seq storage.Seq) {
		batch, want = append(batch, r), append(want, storage.Outcome{Status: status, Seq: seq})
	}
	for _, n := range slices.Sorted(maps.Keys(p.stored)) {
		theft := numberedRecord(n + 1<<20)
		theft.Nullifier = numberedRecord(n).Nullifier
		add(theft, storage.Spent, 0)
		if numberedRecord(n).Born < floor {
			add(numberedRecord(n), storage.Spent, 0)
			continue
		}
		add(numberedRecord(n), storage.Replayed, p.stored[n])
	}
	for _, n := range slices.Sorted(maps.Keys(p.spent)) {
		add(numberedRecord(n), storage.Spent, 0)
	}
	another := numberedRecord(1 << 21)
	another.Born = max(another.Born, floor)
	add(another, storage.Stored, last+1)
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
