package sqlite

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	// checkTime is how long one call of Check takes.
	checkTime = 2 * time.Second
	// treeFaults is the greatest number of faults of the trees that are reported. One damaged
	// page makes many.
	treeFaults = 200
)

// check is a check of the whole store, which goes on between the calls of Check.
type check struct {
	snapshot
	x      *Inspection
	ctx    context.Context
	stop   context.CancelFunc
	found  chan storage.Fault
	ended  chan struct{}
	err    error           // why it ended early, set before ended is closed
	parts  uint64          // that calls of Check have returned
	unseen []storage.Fault // of the part that a call may have to return again
	read   atomic.Uint64   // bytes of envelopes that were verified

	hours              map[storage.Hour]storage.HourSize
	count, shown, sigs uint64
	first, last        storage.Seq
}

// Check implements [storage.Checker]. The check of a store goes on in the background; a call
// returns what it has found in about checkTime. A call that is not for the part after the
// last one begins anew.
//
// It has SQLite verify all pages, trees and the indexes of the table envelopes. Then it
// computes the checksum and the id of each entry of the log, and compares the log with the
// tables of pieces, signatures, hours, tokens and counters, each with the other.
func (x *Inspection) Check(ctx context.Context, req storage.CheckRequest) (storage.Checked, error) {
	if err := req.Bound(); err != nil {
		return storage.Checked{}, fmt.Errorf("check %s: %w", x.path, err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return storage.Checked{}, err
	}
	if err := x.findPart(req.After); err != nil {
		return storage.Checked{}, fmt.Errorf("check %s: %w", x.path, err)
	}
	c := x.check
	ended, err := c.collectFaults(ctx)
	if err != nil {
		return storage.Checked{}, err
	}
	done := storage.Checked{Faults: c.unseen, Total: uint64(x.image.size)}
	if ended {
		c.stopCheck()
		x.check = nil
		done.Done = done.Total
		return done, c.err
	}
	c.parts++
	done.Next = binary.BigEndian.AppendUint64(nil, c.parts)
	done.Done = min((x.image.countSeen()+c.read.Load())/2, done.Total)
	return done, nil
}

// findPart goes on with the check under way if after is its place, and begins one if not.
func (x *Inspection) findPart(after []byte) error {
	if c := x.check; c != nil && len(after) == 8 {
		switch binary.BigEndian.Uint64(after) {
		case c.parts:
			c.unseen = nil
			return nil
		case c.parts - 1:
			c.parts--
			return nil
		}
	}
	if x.check != nil {
		x.check.stopCheck()
		x.check = nil
	}
	conn, err := x.reader.takeConn()
	if err != nil {
		return explainImageError(err)
	}
	c := &check{x: x, snapshot: snapshot{conn, x.meta}, found: make(chan storage.Fault), ended: make(chan struct{}),
		hours: make(map[storage.Hour]storage.HourSize)}
	c.ctx, c.stop = context.WithCancel(context.Background())
	for i := range x.image.seen {
		x.image.seen[i].Store(false)
	}
	x.check = c
	go func() {
		defer close(c.ended)
		c.err = c.run()
		x.reader.giveBack(conn)
	}()
	return nil
}

func (c *check) stopCheck() {
	c.stop()
	<-c.ended
}

// collectFaults waits for faults, and reports whether the check has ended.
func (c *check) collectFaults(ctx context.Context) (ended bool, err error) {
	timer := time.NewTimer(checkTime)
	defer timer.Stop()
	for len(c.unseen) < storage.MaxFaults {
		select {
		case f := <-c.found:
			c.unseen = append(c.unseen, f)
		case <-c.ended:
			return true, nil
		case <-timer.C:
			return false, nil
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	return false, nil
}

// report hands a fault to a call of Check.
func (c *check) report(place, format string, values ...any) {
	select {
	case c.found <- storage.Fault{Place: place, Text: cutText(fmt.Sprintf(format, values...))}:
	case <-c.ctx.Done():
	}
}

// cutText bounds what SQLite says of a damaged file.
func cutText(s string) string {
	s = strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, s), "?")
	for len(s) > storage.MaxFaultText {
		s = s[:len(s)-1]
	}
	return strings.ToValidUTF8(s, "")
}

func (c *check) run() error {
	for _, f := range c.x.faults {
		c.report(f.Place, "%s", f.Text)
	}
	for _, part := range []func() error{c.checkTrees, c.checkLog, c.checkTables, c.checkTokens} {
		if err := part(); err != nil {
			return err
		}
		if err := c.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// checkTrees has SQLite verify each page, each tree and each entry of an index.
func (c *check) checkTrees() error {
	name := filepath.Base(c.x.path)
	if n := fileSize(c.x.path); n%pageSize != 0 || n < c.x.image.size && c.x.image.log == nil {
		c.report(name, "it has %d bytes, which are no whole number of pages", n)
	}
	rows, err := c.conn.QueryContext(c.ctx, fmt.Sprintf("PRAGMA main.integrity_check(%d)", treeFaults))
	if err != nil {
		c.report(name, "the trees cannot be verified: %v", err)
		return nil
	}
	defer rows.Close() //nolint:errcheck // reads only
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			c.report(name, "the trees cannot be verified: %v", err)
			return nil
		}
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "ok" && !strings.HasPrefix(line, "***") {
				c.report(name, "%s", line)
			}
		}
	}
	if err := rows.Err(); err != nil && c.ctx.Err() == nil {
		c.report(name, "the trees cannot be verified to the end: %v", err)
	}
	return nil
}

// checkPage is how many entries are read at a time.
const checkPage = 256

// checkLog verifies each entry of the log, those too that are pruned and not removed yet.
func (c *check) checkLog() error {
	next := storage.Seq(1)
	for next <= c.meta.last+1 {
		entries, err := c.salvageLog(c.ctx, next, 0, checkPage, storage.PageBytes, c.reportDamage)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			if err := c.checkEntry(e); err != nil {
				return err
			}
		}
		next = entries[len(entries)-1].Seq + 1
	}
	var last int64
	err := c.conn.QueryRowContext(c.ctx, "SELECT coalesce(max(seq), 0) FROM envelopes").Scan(&last)
	switch {
	case err != nil:
		c.report("table envelopes", "its end cannot be read: %v", err)
	case storage.Seq(last) > c.meta.last || c.meta.floor == 0 && storage.Seq(last) < c.meta.last:
		c.report("table envelopes", "it ends at %d and not at %d, as the table meta says", last, c.meta.last)
	}
	return nil
}

func (c *check) reportDamage(first, last storage.Seq, err error) {
	if first == last {
		c.report(fmt.Sprintf("entry %d", first), "it is lost: %v", withoutAdvice(err))
		return
	}
	c.report(fmt.Sprintf("entries %d to %d", first, last), "those that there were are lost: %v", withoutAdvice(err))
}

// withoutAdvice leaves out the advice of an error of package storefile.
func withoutAdvice(err error) string {
	text, _, _ := strings.Cut(err.Error(), "; keep a copy")
	return strings.TrimSuffix(strings.TrimPrefix(text, storage.ErrCorrupt.Error()+" ("), ")")
}

// checkEntry counts an entry that is whole, and looks for it in the table of signatures.
func (c *check) checkEntry(e storage.Entry) error {
	size := uint64(len(e.Signature) + len(e.Ciphertext))
	c.read.Add(size)
	if c.meta.floor == 0 && e.Seq > c.last+1 {
		c.report(fmt.Sprintf("entries %d to %d", c.last+1, e.Seq-1), "they are not there")
	}
	c.last = e.Seq
	c.count++
	if e.Born >= c.meta.floor {
		c.shown++
		if c.first == 0 {
			c.first = e.Seq
		}
	}
	h := c.hours[e.Born]
	c.hours[e.Born] = storage.HourSize{Hour: e.Born, Count: h.Count + 1, Bytes: h.Bytes + size}
	if c.x.format == 1 {
		return nil
	}
	var own, before uint64
	switch err := c.bySignature.QueryRowContext(c.ctx, hashOf(e.Signature), int64(e.Seq)).Scan(&own, &before); {
	case err != nil:
		c.report(fmt.Sprintf("entry %d", e.Seq), "its signature cannot be looked up: %v", err)
	case before == 0 && c.meta.floor == 0: // else the first one with this signature may be pruned
		c.report(fmt.Sprintf("entry %d", e.Seq), "its signature is not in the table signatures, so readers do not find it")
	default:
		c.sigs += own
	}
	return c.ctx.Err()
}

// checkTables compares the counters and the tables beside the log with it.
func (c *check) checkTables() error {
	c.compare("table meta", "envelopes", c.meta.count, c.shown)
	if c.meta.first != c.first {
		c.report("table meta", "it says that the log begins at %d, and it begins at %d", c.meta.first, c.first)
	}
	if c.x.format == 1 {
		return nil
	}
	var pieces uint64
	if err := c.conn.QueryRowContext(c.ctx, "SELECT coalesce(sum(pieces), 0) FROM envelopes").Scan(&pieces); err == nil { // else it is reported already
		c.compareRows("pieces", pieces)
	}
	c.compareRows("signatures", c.sigs)
	from := int64(0)
	seen := 0
	for {
		page, err := c.readHours(from, storage.MaxHours)
		for _, h := range page {
			if int64(h.Hour) < from {
				err = errOutOfOrder
				break
			}
			seen++
			if c.hours[h.Hour] != h {
				c.report(fmt.Sprintf("table hours, hour %d", h.Hour), "it says %d envelopes of %d bytes, and the log has %d of %d",
					h.Count, h.Bytes, c.hours[h.Hour].Count, c.hours[h.Hour].Bytes)
			}
			from = int64(h.Hour) + 1
		}
		if err != nil {
			c.report("table hours", "it cannot be read: %v", explainImageError(err))
			return nil
		}
		if len(page) == 0 {
			break
		}
	}
	if n := len(c.hours); n > seen {
		c.report("table hours", "it has %d hours, and the log has %d", seen, n)
	}
	return nil
}

// compareRows compares how many rows a table has with how many belong to entries that are whole.
func (c *check) compareRows(table string, want uint64) {
	var got uint64
	if err := c.conn.QueryRowContext(c.ctx, "SELECT count(*) FROM "+table).Scan(&got); err != nil {
		c.report("table "+table, "it cannot be read: %v", err)
		return
	}
	c.compare("table "+table, "rows", got, want)
}

func (c *check) compare(place, what string, got, want uint64) {
	if got != want {
		c.report(place, "it has %d %s, and for what is whole in the log there should be %d", got, what, want)
	}
}

// checkTokens verifies each spent token.
func (c *check) checkTokens() error {
	var n uint64
	for after := []byte{}; ; {
		page, err := c.salvageTokens(c.ctx, after, storage.MaxSpentTokens, func(err error) {
			c.report("table tokens", "some are lost, so that they can be spent again: %v", withoutAdvice(err))
		})
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		n += uint64(len(page))
		after = page[len(page)-1].Token[:]
	}
	if n != c.meta.tokens {
		c.report("table tokens", "%d can be read, and the table meta says %d", n, c.meta.tokens)
	}
	if c.x.format > 1 {
		c.checkSum()
	}
	return nil
}

// checkSum verifies the sum of the spent tokens.
func (c *check) checkSum() {
	rows, err := c.conn.QueryContext(c.ctx, "SELECT token, paid FROM tokens")
	if err != nil {
		return // as the walk has found
	}
	defer rows.Close() //nolint:errcheck // reads only
	sum := int64(0)
	for rows.Next() {
		var token sql.RawBytes
		var paid any
		if rows.Scan(&token, &paid) == nil {
			sum += checksumOfToken(token, paid)
		}
	}
	if c.ctx.Err() == nil && sum != c.meta.sum {
		c.report("table tokens", "a token has changed or is missing: the sum of all is not that of the table meta")
	}
}
