package board

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// ReplicationHours is how long an envelope may take from one replica of a board to another,
// differences of clocks included, without being missed by a client that changes replicas. A day
// covers a relay that is off for a night. Each hour more is an hour of envelopes more that every
// replay repeats.
const ReplicationHours = 24

const (
	// maxHourRows is how many hours with new entries a table covers: all of 90 days.
	maxHourRows = 90 * 24
	// hoursFormat is the version of the file that this package writes.
	hoursFormat = 1
	// maxHoursFile bounds the file in bytes. It is more than the longest table takes.
	maxHoursFile = 1 << 20
)

// hourRow says when entries were shown here: those from First on, up to the next row, in Hour
// or later, and in Until or earlier. The two differ if nobody noted the hours in between.
type hourRow struct {
	First storage.Seq  `json:"first"`
	Hour  storage.Hour `json:"hour"`
	Until storage.Hour `json:"until"`
}

// hoursFile is the file of a table as JSON.
type hoursFile struct {
	Format int       `json:"format"`
	Epoch  string    `json:"epoch"`
	Rows   []hourRow `json:"rows"`
}

// hourTable knows in which hour the entries of the log were shown here. Its methods that change
// it are called with Board.appendMu held.
type hourTable struct {
	path   string
	epoch  storage.Epoch
	failed bool // the last write has

	mu   sync.RWMutex
	rows []hourRow // First and Until ascend
}

// loadHourTable reads a table and makes it cover the log up to last. Nobody has noted what was
// appended since its last row, so that may have been in any hour until now.
func loadHourTable(path string, epoch storage.Epoch, last storage.Seq, now storage.Hour) (*hourTable, error) {
	t := &hourTable{path: path, epoch: epoch}
	file, err := readHoursFile(path)
	switch {
	case err != nil:
	case file.Epoch != epoch.String():
		err = errors.New("it is about another store")
	default:
		t.rows, err = resumeRows(file.Rows, last, now)
	}
	if err != nil {
		t.rows = []hourRow{{last + 1, now, now}}
	}
	return t, err
}

// resumeRows makes rows cover a log up to last.
func resumeRows(rows []hourRow, last storage.Seq, now storage.Hour) ([]hourRow, error) {
	for n := len(rows); n > 0 && rows[n-1].First > last+1; n-- { // the store was rolled back
		rows = rows[:n-1]
	}
	if len(rows) == 0 {
		return nil, errors.New("it is about entries that the log does not have")
	}
	end := &rows[len(rows)-1]
	if isBehind(now, end.Until) {
		return nil, errClockWentBack
	}
	end.Until = max(end.Until, now)
	return rows, nil
}

var errClockWentBack = errors.New("the clock went back, or was ahead before")

// isBehind reports whether an hour contradicts one that was noted before. A clock that is set
// may go back a little.
func isBehind(now, noted storage.Hour) bool { return now+1 < noted }

func readHoursFile(path string) (file hoursFile, err error) {
	f, err := os.Open(path)
	if err != nil {
		return file, err
	}
	defer f.Close()
	if err := durable.Confirm(f); err != nil {
		return file, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxHoursFile+1))
	if err == nil && len(data) > maxHoursFile {
		err = fmt.Errorf("it is longer than %d bytes", maxHoursFile)
	}
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err == nil && (file.Format != hoursFormat || len(file.Rows) == 0 || len(file.Rows) > maxHourRows) {
		err = fmt.Errorf("it has format %d and %d rows", file.Format, len(file.Rows))
	}
	before := hourRow{}
	for _, r := range file.Rows {
		if err == nil && (r.First <= before.First || r.Until < before.Until || r.Until < r.Hour) {
			err = errors.New("its rows are out of order")
		}
		before = r
	}
	return file, err
}

// noteHour notes that entries from first on are shown in this hour or later, and reports whether
// that changed the table. The error is errClockWentBack or nil; then the table begins anew.
func (t *hourTable) noteHour(first storage.Seq, now storage.Hour) (changed bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := &t.rows[len(t.rows)-1]
	switch {
	case isBehind(now, last.Until):
		t.rows = []hourRow{{first, now, now}}
		return true, errClockWentBack
	case now < last.Until, now == last.Hour:
		return false, nil
	case last.First == first: // without entries so far
		last.Hour, last.Until = now, now
		return true, nil
	}
	t.rows = append(t.rows, hourRow{first, now, now})
	t.rows = t.rows[max(0, len(t.rows)-maxHourRows):]
	return true, nil
}

// pruneRows forgets the rows of which no entry is left. The file follows with the next row.
func (t *hourTable) pruneRows(first storage.Seq) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.rows) > 1 && t.rows[1].First <= first {
		t.rows = t.rows[1:]
	}
}

// findStart returns where a replay from the entry at seq begins, which was born in the given
// hour: at the first entry that another replica may have got after it. It returns 0 if the table
// does not reach back that far.
//
// Replica B may have got the entry when it was born, and what was shown here ReplicationHours
// before that only afterwards. The hour of birth is the word of a peer, so it is believed only as
// far as the entry can have been under way.
func (t *hourTable) findStart(seq storage.Seq, born storage.Hour) storage.Seq {
	t.mu.RLock()
	defer t.mu.RUnlock()
	i := len(t.rows) - 1
	for i >= 0 && t.rows[i].First > seq {
		i--
	}
	if i < 0 {
		return 0
	}
	shown := t.rows[i].Hour
	from := max(min(born, shown), shown-min(shown, ReplicationHours))
	from -= min(from, ReplicationHours)
	if from <= t.rows[0].Hour { // what came before the table may have been in its first hour
		return 0
	}
	for i > 0 && t.rows[i-1].Until >= from {
		i--
	}
	return min(t.rows[i].First, seq)
}

func (t *hourTable) writeFile() error {
	t.mu.RLock()
	data, err := json.Marshal(hoursFile{hoursFormat, t.epoch.String(), t.rows})
	t.mu.RUnlock()
	if err != nil {
		return err
	}
	return durable.WriteFile(t.path, data, 0o600)
}

// SetRoaming tells the board whether clients may ask from an envelope that they have from a replica
// at another relay. Then the board lets replays begin earlier, as [Board.Find] says, and keeps a
// table of hours for that in [Config.HoursFile]. Strangers notice it.
func (b *Board) SetRoaming(roaming bool) {
	b.appendMu.Lock()
	defer b.appendMu.Unlock()
	if !roaming {
		b.hours.Store(nil)
		return
	}
	if b.hours.Load() != nil {
		return
	}
	last := b.tail.lastSeq()
	t, err := loadHourTable(b.cfg.HoursFile, b.epoch, last, storage.HourOf(b.cfg.Now()))
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		if last > 0 {
			b.log.Info("the table of hours begins: until it covers two days, replays may begin at the beginning of the log", "file", t.path)
		}
	default:
		b.warnOfHours(t, err)
	}
	b.writeHours(t)
	b.hours.Store(t)
}

func (b *Board) warnOfHours(t *hourTable, reason error) {
	b.log.Warn("the table of hours cannot be used and begins anew: until it covers two days, replays may begin at the beginning of the log, which costs clients time and loses nothing", "file", t.path, "reason", reason)
}

// noteHour notes that what follows the end of the log is shown in this hour or later.
// b.appendMu is held.
func (b *Board) noteHour() {
	t := b.hours.Load()
	if t == nil {
		return
	}
	changed, err := t.noteHour(b.tail.lastSeq()+1, storage.HourOf(b.cfg.Now()))
	if err != nil {
		b.warnOfHours(t, err)
	}
	if changed {
		b.writeHours(t)
	}
}

// writeHours writes the table. If that fails, posts go on: a table that lacks its last rows makes
// replays begin earlier.
func (b *Board) writeHours(t *hourTable) {
	err := t.writeFile()
	if err != nil && !t.failed {
		b.log.Warn("cannot write the table of hours; will try again every hour; logged once", "file", t.path, "error", err)
	}
	t.failed = err != nil
}

// pruneHours forgets the hours of which the store has nothing left.
func (b *Board) pruneHours() {
	t := b.hours.Load()
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), b.cfg.ReadTimeout)
	defer cancel()
	if info, err := b.store.Info(ctx); err == nil {
		t.pruneRows(info.First)
	}
}

// findOverlap returns where a replay from the entry at seq begins, or 0 if that is the beginning
// of the log.
func (b *Board) findOverlap(ctx context.Context, seq storage.Seq) (storage.Seq, error) {
	t := b.hours.Load()
	if t == nil {
		return seq, nil
	}
	born := storage.Hour(0) // of one that is not shown yet, or is pruned by now: any
	if seq <= b.tail.lastSeq() {
		page, err := b.readPage(ctx, seq, seq, 1)
		if err != nil {
			return 0, err
		}
		if len(page) > 0 {
			born = page[0].Born
		}
	}
	return t.findStart(seq, born), nil
}
