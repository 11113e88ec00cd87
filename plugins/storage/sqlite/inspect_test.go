package sqlite

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// checkedRecords makes records of several hours and sizes with the right ids.
func checkedRecords(n int) []storage.Record {
	records := markedRecords(n, 0, "")
	for i := range records {
		records[i].Born = storage.Hour(100 + i/100)
	}
	return records
}

// fillStore makes a store with records, most of them in the database and the last ones only in
// the log of SQLite, and returns copies of both files, as a killed process leaves them.
func fillStore(t *testing.T, records []storage.Record) (database, log []byte) {
	t.Helper()
	s := openNewStore(t, Options{})
	half := len(records) * 3 / 4
	for i := 0; i < len(records); i += 50 {
		if i == half/50*50 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = mustOpen(t, s.path, Options{})
		}
		if _, err := s.Append(t.Context(), records[i:min(i+50, len(records))]); err != nil {
			t.Fatal(err)
		}
	}
	database, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	if log, err = os.ReadFile(s.path + walSuffix); err != nil {
		t.Fatal(err)
	}
	return database, log
}

func writeFiles(t *testing.T, database, log []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "messages.sqlite")
	writeFile(t, path, database)
	if len(log) > 0 {
		writeFile(t, path+walSuffix, log)
	}
	return path
}

// inspected is what a file shows to somebody who opens it for inspection.
type inspected struct {
	info    storage.Info
	entries []storage.Entry
	tokens  []storage.SpentToken
	faults  []storage.Fault
}

// inspectStore reads all of a store that is opened for inspection, checks it, and makes sure
// that its directory stays as it is.
func inspectStore(t *testing.T, path string) (got inspected, err error) {
	t.Helper()
	before := storefiletest.ListDir(t, filepath.Dir(path))
	s, err := Inspect(path)
	if err == nil {
		got = readInspected(t, s)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if after := storefiletest.ListDir(t, filepath.Dir(path)); after != before {
		t.Errorf("the directory has changed:\n%s\nbefore:\n%s", after, before)
	}
	return got, err
}

func readInspected(t *testing.T, s storage.Store) (got inspected) {
	t.Helper()
	var err error
	if got.info, err = s.Info(t.Context()); err != nil {
		t.Fatal(err)
	}
	for from := storage.Seq(1); ; {
		page, err := s.Log(t.Context(), storage.LogRequest{From: from})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Entries) == 0 {
			break
		}
		got.entries = append(got.entries, page.Entries...)
		from = page.Entries[len(page.Entries)-1].Seq + 1
	}
	ledger, _ := storage.As[storage.Ledger](s)
	for after := (*storage.TokenID)(nil); ; {
		page, err := ledger.SpentTokens(t.Context(), storage.SpentTokensRequest{After: after, Max: 100})
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		got.tokens = append(got.tokens, page...)
		after = &page[len(page)-1].Token
	}
	checker, _ := storage.As[storage.Checker](s)
	for next := []byte(nil); ; {
		c, err := checker.Check(t.Context(), storage.CheckRequest{After: next})
		if err != nil {
			t.Fatal(err)
		}
		got.faults = append(got.faults, c.Faults...)
		if c.Done > c.Total || c.Total == 0 {
			t.Errorf("%d bytes of %d are done", c.Done, c.Total)
		}
		if len(c.Next) == 0 {
			return got
		}
		next = c.Next
	}
}

// expectWhole checks that an inspection shows all records and no fault.
func (got inspected) expectWhole(t *testing.T, records []storage.Record) {
	t.Helper()
	if len(got.entries) != len(records) || len(got.tokens) != len(records) || int(got.info.Count) != len(records) {
		t.Errorf("%d entries and %d tokens of %d, %+v", len(got.entries), len(got.tokens), len(records), got.info)
	}
	got.expectTrue(t, records)
	for _, f := range got.faults {
		t.Errorf("%s: %s", f.Place, f.Text)
	}
}

// expectTrue checks that what an inspection shows is what was stored.
func (got inspected) expectTrue(t *testing.T, records []storage.Record) {
	t.Helper()
	got.expectTrueEntries(t, records)
	want := make(map[storage.TokenID]bool)
	for _, r := range records {
		want[storage.NewTokenID(*r.Nullifier)] = true
	}
	for i, x := range got.tokens {
		if !want[x.Token] || i > 0 && bytes.Compare(got.tokens[i-1].Token[:], x.Token[:]) >= 0 {
			t.Fatalf("token %d was not spent, or is out of order", i)
		}
	}
}

func (got inspected) expectTrueEntries(t *testing.T, records []storage.Record) {
	t.Helper()
	last := storage.Seq(0)
	for _, e := range got.entries {
		r := records[e.Seq-1]
		if e.Seq <= last || e.ID != r.ID || e.Born != r.Born || !bytes.Equal(e.Signature, r.Signature) || !bytes.Equal(e.Ciphertext, r.Ciphertext) {
			t.Fatalf("entry %d is not what was stored", e.Seq)
		}
		last = e.Seq
	}
}

// TestInspectWhole inspects a store that was closed, one that was killed, and one that was
// pruned and killed.
func TestInspectWhole(t *testing.T) {
	records := checkedRecords(1000)
	database, log := fillStore(t, records)
	if len(log) < 10*pageSize {
		t.Fatal("the log is short, so this shows little")
	}
	got, err := inspectStore(t, writeFiles(t, database, log))
	if err != nil {
		t.Fatal(err)
	}
	got.expectWhole(t, records)

	path := writeFiles(t, database, log)
	s := mustOpen(t, path, Options{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err = inspectStore(t, path); err != nil {
		t.Fatal(err)
	}
	got.expectWhole(t, records)

	s = mustOpen(t, path, Options{})
	if _, err := s.Prune(t.Context(), storage.PruneRequest{Floor: 103, Max: 120}); err != nil {
		t.Fatal(err)
	}
	compactAll(t, s, 1<<20)
	copied := filepath.Join(t.TempDir(), "messages.sqlite")
	for _, suffix := range []string{"", walSuffix} {
		data, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, copied+suffix, data)
	}
	if got, err = inspectStore(t, copied); err != nil {
		t.Fatal(err)
	}
	if len(got.entries) != 700 || len(got.tokens) != 1000 || got.info.Floor != 103 || len(got.faults) > 0 {
		t.Errorf("%d entries, %d tokens, %+v, %q", len(got.entries), len(got.tokens), got.info, got.faults)
	}
	got.expectTrue(t, records)
}

// TestInspectFormat1 inspects a file of the release before, which stays as it is.
func TestInspectFormat1(t *testing.T) {
	path := filepath.Join(t.TempDir(), "messages.sqlite")
	records := checkedRecords(1000)
	writeFormat1(t, path, records)
	got, err := inspectStore(t, path)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.entries) != 1012 || len(got.tokens) != 1009 || got.info.Count != 1012 || len(got.faults) > 0 {
		t.Errorf("%d entries, %d tokens, %+v, %q", len(got.entries), len(got.tokens), got.info, got.faults)
	}
	execStatement(t, path, "UPDATE envelopes SET ciphertext = x'00' WHERE seq = 20")
	if got, err = inspectStore(t, path); err != nil {
		t.Fatal(err)
	}
	if len(got.entries) != 1011 || !got.mentions("entry 20") {
		t.Errorf("%d entries, %q", len(got.entries), got.faults)
	}
}

func (got inspected) mentions(text string) bool {
	return slices.ContainsFunc(got.faults, func(f storage.Fault) bool { return strings.Contains(f.Place+": "+f.Text, text) })
}

// pagesOf returns the pages of a closed database that a table or an index has.
func pagesOf(t *testing.T, path, name string) (pages []int) {
	t.Helper()
	db := openAsOtherProgram(t, path, "ro")
	rows, err := db.Query("SELECT pageno FROM dbstat WHERE name = ? ORDER BY pageno", name)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var n int
		if err := rows.Scan(&n); err != nil {
			t.Fatal(err)
		}
		pages = append(pages, n)
	}
	if rows.Err() != nil || len(pages) == 0 {
		t.Fatalf("%s has no pages, %v", name, rows.Err())
	}
	return pages
}

// closedImage is the file of a closed store with records, of which some are pruned so that
// it has free pages.
func closedImage(t *testing.T, records []storage.Record) (path string, data []byte) {
	t.Helper()
	path = writeFiles(t, nil, nil)
	os.Remove(path)
	s := mustOpen(t, path, Options{})
	for i := 0; i < len(records); i += 50 {
		if _, err := s.Append(t.Context(), records[i:i+50]); err != nil {
			t.Fatal(err)
		}
	}
	pruneAll(t, s, 101, 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, data
}

// TestCheckFindsDamage damages a store in every way and place, and checks that this is found
// and that what is still shown is true.
func TestCheckFindsDamage(t *testing.T) {
	storefiletest.SkipUnderRace(t)
	records := checkedRecords(1000)
	path, good := closedImage(t, records)
	other := checkedRecords(1000)
	_, foreign := closedImage(t, other)
	page := func(data []byte, n int) []byte { return data[(n-1)*pageSize : n*pageSize] }
	kinds := map[string]func(data []byte, n int){
		"zeros":   func(data []byte, n int) { clear(page(data, n)) },
		"random":  func(data []byte, n int) { copy(page(data, n), bytes.Repeat([]byte("garbage "), pageSize/8)) },
		"foreign": func(data []byte, n int) { copy(page(data, n), page(foreign, min(n, len(foreign)/pageSize))) },
	}
	for _, table := range []string{"envelopes", "pieces", "tokens", "signatures", "hours", "meta", "envelopes_by_id", "envelopes_by_key"} {
		pages := pagesOf(t, path, table)
		for kind, damage := range kinds {
			for _, n := range []int{pages[0], pages[len(pages)/2], pages[len(pages)-1]} {
				data := bytes.Clone(good)
				damage(data, n)
				if bytes.Equal(data, good) {
					continue
				}
				got, err := inspectStore(t, writeFiles(t, data, nil))
				if err != nil {
					t.Errorf("%s in page %d of %s: %v", kind, n, table, err)
					continue
				}
				if len(got.faults) == 0 {
					t.Errorf("%s in page %d of %s is not found", kind, n, table)
				}
				if n != pages[0] && len(got.entries) < 600 {
					t.Errorf("%s in page %d of %s: %d entries are left", kind, n, table, len(got.entries))
				}
				if kind != "foreign" { // whose envelopes and tokens look like those of the store
					got.expectTrue(t, records)
				}
			}
		}
	}
}

// TestCheckFindsDamagedHeader damages the first page, for which that of a new store stands in.
func TestCheckFindsDamagedHeader(t *testing.T) {
	records := checkedRecords(1000)
	_, good := closedImage(t, records)
	for name, damage := range map[string]func(data []byte){
		"zeros":       func(data []byte) { clear(data[:pageSize]) },
		"magic":       func(data []byte) { data[3] ^= 1 },
		"application": func(data []byte) { data[applicationOffset] ^= 1 },
		"a table":     func(data []byte) { data[pageSize-300] ^= 0x10 },
	} {
		data := bytes.Clone(good)
		damage(data)
		got, err := inspectStore(t, writeFiles(t, data, nil))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(got.entries) != 900 || len(got.tokens) != 1000 || !got.mentions("page 1") {
			t.Errorf("%s: %d entries, %d tokens, %q", name, len(got.entries), len(got.tokens), got.faults)
		}
		got.expectTrue(t, records)
	}
}

// TestCheckFindsBits flips bits all over a file: those that are not found change nothing that
// the store shows.
func TestCheckFindsBits(t *testing.T) {
	storefiletest.SkipUnderRace(t)
	records := checkedRecords(200)
	for i := range records {
		records[i].Born = storage.Hour(100 + i/20)
	}
	path, good := closedImage(t, records)
	whole, err := inspectStore(t, path)
	if err != nil || len(whole.faults) > 0 {
		t.Fatal(err, whole.faults)
	}
	missed := 0
	const step = 4999 // bits
	for bit := 0; bit < len(good)*8; bit += step {
		data := bytes.Clone(good)
		data[bit/8] ^= 1 << (bit % 8)
		got, err := inspectStore(t, writeFiles(t, data, nil))
		if err != nil || len(got.faults) > 0 {
			got.expectTrueEntries(t, records) // nothing tells which token has changed
			continue
		}
		missed++
		if len(got.entries) != len(whole.entries) || !slices.Equal(got.tokens, whole.tokens) || got.info != whole.info {
			t.Errorf("bit %d of byte %d, in page %d, is not found and changes what the store shows", bit%8, bit/8, bit/8/pageSize+1)
		}
		got.expectTrue(t, records)
	}
	t.Logf("%d bits of %d are not found, and change nothing", missed, len(good)*8/step)
}

// TestCheckFindsCut cuts off the end of a file.
func TestCheckFindsCut(t *testing.T) {
	records := checkedRecords(1000)
	_, good := closedImage(t, records)
	for _, size := range []int{len(good) - 1, len(good) - pageSize, len(good) / 2, 20 * pageSize, 30*pageSize + 100} {
		got, err := inspectStore(t, writeFiles(t, good[:size], nil))
		if err != nil {
			t.Errorf("%d bytes of %d: %v", size, len(good), err)
			continue
		}
		if len(got.faults) == 0 {
			t.Errorf("that %d bytes are left of %d is not found", size, len(good))
		}
		t.Logf("%d bytes of %d: %d entries, %d tokens, %d faults, the first: %s", size, len(good), len(got.entries), len(got.tokens), len(got.faults), got.faults[:1])
		got.expectTrue(t, records)
	}
}

// TestCheckFindsDamagedLog damages the log of SQLite.
func TestCheckFindsDamagedLog(t *testing.T) {
	records := checkedRecords(1000)
	database, log := fillStore(t, records)
	frames := (len(log) - walHeaderSize) / walFrameSize
	for name, c := range map[string]struct {
		damage func(log []byte) []byte
		want   string // of the fault; none means that it looks like a power cut
	}{
		"header":           {func(l []byte) []byte { l[17] ^= 1; return l }, "its header is damaged"},
		"first frame":      {func(l []byte) []byte { l[walHeaderSize+500] ^= 1; return l }, "frame 1 is damaged"},
		"salt":             {func(l []byte) []byte { l[walHeaderSize+walFrameSize*(frames/2)+9] ^= 1; return l }, "is damaged; its commit and"},
		"middle":           {func(l []byte) []byte { l[walHeaderSize+walFrameSize*(frames/2)+99] ^= 1; return l }, "is damaged; its commit and"},
		"last frame":       {func(l []byte) []byte { l[walHeaderSize+walFrameSize*frames-9] ^= 1; return l }, ""},
		"cut in the last":  {func(l []byte) []byte { return l[:len(l)-9] }, ""},
		"nothing but text": {func(l []byte) []byte { return []byte("dear operator") }, "is no log of SQLite"},
	} {
		got, err := inspectStore(t, writeFiles(t, database, c.damage(bytes.Clone(log))))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.want == "" && len(got.faults) > 0 || c.want != "" && !got.mentions(c.want) {
			t.Errorf("%s: %q, want %q", name, got.faults, c.want)
		}
		got.expectTrue(t, records)
		if len(got.entries) < 700 {
			t.Errorf("%s: %d entries", name, len(got.entries))
		}
	}
}

// TestCheckFindsContradictions changes rows by hand, so that SQLite finds nothing wrong.
func TestCheckFindsContradictions(t *testing.T) {
	records := checkedRecords(300)
	path, _ := closedImage(t, records)
	for statement, want := range map[string]string{
		"UPDATE envelopes SET ciphertext = x'00' WHERE seq = 170":                      "entry 170",
		"UPDATE envelopes SET id = zeroblob(32) WHERE seq = 170":                       "entry 170",
		"DELETE FROM envelopes WHERE seq = 170":                                        "table meta",
		"DELETE FROM pieces WHERE n = (SELECT max(n) FROM pieces)":                     "a piece of an entry of the log is missing",
		"INSERT INTO pieces VALUES (8 * 171 + 6, zeroblob(667))":                       "table pieces",
		"DELETE FROM signatures WHERE seq = 170":                                       "",
		"INSERT INTO signatures VALUES (7, 170)":                                       "table signatures",
		"UPDATE hours SET count = count + 1 WHERE hour = 101":                          "table hours, hour 101",
		"DELETE FROM hours WHERE hour = 101":                                           "table hours",
		"DELETE FROM tokens WHERE token = (SELECT max(token) FROM tokens)":             "table tokens",
		"UPDATE tokens SET paid = x'00' WHERE token = (SELECT max(token) FROM tokens)": "table tokens",
		"UPDATE meta SET count = count - 1":                                            "table meta",
		"UPDATE meta SET first = first + 1":                                            "table meta",
		"UPDATE meta SET last = last + 10, floor = 0, first = 1":                       "table envelopes",
		"UPDATE meta SET epoch = x''":                                                  "the epoch and the floor are lost",
		"DELETE FROM meta":                                                             "the epoch and the floor are lost",
	} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		changed := writeFiles(t, data, nil)
		execStatement(t, changed, statement)
		got, err := inspectStore(t, changed)
		if err != nil {
			t.Errorf("%s: %v", statement, err)
			continue
		}
		if want == "" && len(got.faults) > 0 || want != "" && !got.mentions(want) {
			t.Errorf("%s: %q, want %q", statement, got.faults, want)
		}
	}
}

// TestInspectRefuses opens what is no store.
func TestInspectRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"nothing": {nil, "not a store"},
		"text":    {[]byte("dear operator\n"), "not a store"},
		"zeros":   {make([]byte, 1<<17), "not a store"},
	} {
		_, err := inspectStore(t, writeFiles(t, c.data, nil))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	path := writeFiles(t, storeImage(t), nil)
	execStatement(t, path, "CREATE VIEW endless AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n")
	if got, err := inspectStore(t, path); err != nil || !got.mentions("its tables are not those of a store") {
		t.Errorf("a file with another table: %q, %v", got.faults, err)
	}
	s := mustOpen(t, filepath.Join(t.TempDir(), "messages.sqlite"), Options{})
	if _, err := Inspect(s.path); !errors.Is(err, storage.ErrUnavailable) && !strings.Contains(err.Error(), "another process has the store open") {
		t.Errorf("a store that is in use: %v", err)
	}
}

// TestInspectHostileLog gives a log that claims a database of 16 TiB.
func TestInspectHostileLog(t *testing.T) {
	records := checkedRecords(100)
	database, log := fillStore(t, records)
	sum := walChecksum{order: binary.LittleEndian}
	sum.add(log[:24])
	if !sum.isIn(log[24:]) {
		t.Fatal("the checksum of the header is another one")
	}
	log = log[:walHeaderSize+walFrameSize]
	frame := log[walHeaderSize:]
	binary.BigEndian.PutUint32(frame, 1<<32-2)
	binary.BigEndian.PutUint32(frame[4:], 1<<32-2)
	sum.add(frame[:8])
	sum.add(frame[walFrameHead:])
	binary.BigEndian.PutUint32(frame[16:], sum.s0)
	binary.BigEndian.PutUint32(frame[20:], sum.s1)
	got, err := inspectStore(t, writeFiles(t, database, log))
	if err != nil {
		t.Fatal(err)
	}
	if got.expectTrue(t, records); got.info.Bytes > 1<<20 {
		t.Errorf("%+v", got.info)
	}
}

// TestCheckInParts repeats a part, begins anew, and ends a call early.
func TestCheckInParts(t *testing.T) {
	records := checkedRecords(300)
	_, data := closedImage(t, records)
	for n := 20; n < 60; n++ {
		clear(data[(n-1)*pageSize : n*pageSize])
	}
	s, err := Inspect(writeFiles(t, data, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := len(readInspected(t, s).faults)
	if got := len(readInspected(t, s).faults); got != want || want == 0 {
		t.Errorf("%d faults the first time, %d the second", want, got)
	}
	checker, _ := storage.As[storage.Checker](s)
	if _, err := checker.Check(t.Context(), storage.CheckRequest{After: make([]byte, storage.MaxCheckState+1)}); !errors.Is(err, storage.ErrTooLarge) {
		t.Errorf("a long state: %v", err)
	}
	if c, err := checker.Check(t.Context(), storage.CheckRequest{After: []byte("nonsense")}); err != nil || len(c.Faults) != want {
		t.Errorf("another state: %d faults, %v", len(c.Faults), err)
	}
}
