package storage

import (
	"cmp"
	"fmt"
)

// CheckBatch returns an error that is [ErrTooLarge] when records exceed the
// limits of one Append, and nil otherwise. Stores call it first.
func CheckBatch(records []Record) error {
	if len(records) > MaxBatch {
		return fmt.Errorf("batch of %d records, limit %d: %w", len(records), MaxBatch, ErrTooLarge)
	}
	total := 0
	for i := range records {
		n := len(records[i].Signature) + len(records[i].Ciphertext)
		if n > MaxEnvelope {
			return fmt.Errorf("record %d of the batch has %d bytes, limit %d: %w", i, n, MaxEnvelope, ErrTooLarge)
		}
		total += n
	}
	if total > MaxBatchBytes && len(records) > 1 {
		return fmt.Errorf("batch of %d bytes, limit %d: %w", total, MaxBatchBytes, ErrTooLarge)
	}
	return nil
}

// Bounds returns the first sequence number that r asks for, and how many entries
// and how many bytes in their bodies to return at most, with the defaults filled
// in; or an error that is [ErrTooLarge]. Stores call it first.
func (r LogRequest) Bounds() (from Seq, entries, bytes int, err error) {
	if r.Max < 0 || r.Max > MaxPage {
		return 0, 0, 0, fmt.Errorf("page of %d entries, limit %d: %w", r.Max, MaxPage, ErrTooLarge)
	}
	if r.MaxBytes < 0 || r.MaxBytes > PageBytes {
		return 0, 0, 0, fmt.Errorf("page of %d bytes, limit %d: %w", r.MaxBytes, PageBytes, ErrTooLarge)
	}
	return max(r.From, 1), cmp.Or(r.Max, MaxPage), cmp.Or(r.MaxBytes, PageBytes), nil
}
