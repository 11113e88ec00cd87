package verify

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/scan"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// maxHours is how many hours are told apart, which are those of fourteen years. What was born
// in others counts together.
const maxHours = 1 << 17

// keySum stands for a set of keys, whatever their order.
type keySum struct {
	count, bytes uint64
	sum          uint64 // of hashes that nobody can foresee
}

// hourTable sums up entries by the hours in which they were born.
type hourTable struct {
	seed   maphash.Seed
	hours  map[storage.Hour]keySum
	others keySum // of hours beyond maxHours
}

func newHourTable() hourTable {
	return hourTable{seed: maphash.MakeSeed(), hours: make(map[storage.Hour]keySum)}
}

func (t *hourTable) add(k storage.Key, bytes uint64) {
	s, known := t.hours[k.Born]
	if !known && len(t.hours) == maxHours {
		t.others = t.others.plus(k, bytes, t.seed)
		return
	}
	t.hours[k.Born] = s.plus(k, bytes, t.seed)
}

func (s keySum) plus(k storage.Key, bytes uint64, seed maphash.Seed) keySum {
	var key [4 + len(k.ID)]byte
	binary.BigEndian.PutUint32(key[:], uint32(k.Born))
	copy(key[4:], k.ID[:])
	return keySum{s.count + 1, s.bytes + bytes, s.sum + maphash.Bytes(seed, key[:])}
}

// checkHours compares the hours of the store with the log.
func (c *checker) checkHours(ctx context.Context) error {
	if c.pruner == nil {
		return nil
	}
	var differ differences
	var others keySum
	seen := 0
	for h, err := range scan.Hours(ctx, c.pruner) {
		if err != nil {
			if err := c.noteFailure("the hours of the store", err); err != nil {
				return err
			}
			break
		}
		s, known := c.log.hours.hours[h.Hour]
		if !known {
			others.count, others.bytes = others.count+h.Count, others.bytes+h.Bytes
			continue
		}
		if seen++; s.count != h.Count || s.bytes != h.Bytes {
			differ.add(h.Hour, fmt.Sprintf("%d envelopes with %d bytes, and the log has %d with %d", h.Count, h.Bytes, s.count, s.bytes))
		}
	}
	differ.count += uint64(len(c.log.hours.hours) - seen)
	if s := c.log.hours.others; others.count != s.count || others.bytes != s.bytes {
		differ.count++
	}
	differ.report(c, "the sizes of hours")
	return nil
}

// checkKeys compares the keys of the store with the log, hour by hour.
func (c *checker) checkKeys(ctx context.Context) error {
	if c.index == nil {
		return nil
	}
	var differ differences
	var others keySum
	keys := make(map[storage.Hour]keySum)
	for k, err := range scan.Keys(ctx, c.index) {
		if err != nil {
			if err := c.noteFailure("the keys of the store", err); err != nil {
				return err
			}
			break
		}
		if _, known := c.log.hours.hours[k.Born]; known {
			keys[k.Born] = keys[k.Born].plus(k, 0, c.log.hours.seed)
		} else {
			others = others.plus(k, 0, c.log.hours.seed)
		}
	}
	for hour, s := range c.log.hours.hours {
		if got := keys[hour]; got.count != s.count || got.sum != s.sum {
			differ.add(hour, fmt.Sprintf("%d keys, and the log has %d envelopes, or others", got.count, s.count))
		}
	}
	if s := c.log.hours.others; others.count != s.count || others.sum != s.sum {
		differ.count++
	}
	differ.report(c, "the keys of hours")
	return nil
}

// differences are hours that differ.
type differences struct {
	count uint64
	hour  storage.Hour // the lowest that is known
	text  string       // of it
}

func (d *differences) add(hour storage.Hour, text string) {
	if d.count++; d.text == "" || hour < d.hour {
		d.hour, d.text = hour, text
	}
}

func (d *differences) report(c *checker, place string) {
	if d.count == 0 {
		return
	}
	text := fmt.Sprintf("%d differ from the log", d.count)
	if d.text != "" {
		text += fmt.Sprintf("; %s: %s", time.Unix(int64(d.hour)*3600, 0).UTC().Format("2006-01-02 15:04 MST"), d.text)
	}
	c.report.addFault(place, text)
}
