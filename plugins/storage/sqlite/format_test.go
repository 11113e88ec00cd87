package sqlite

import (
	"bytes"
	"compress/gzip"
	"database/sql"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

var update = flag.Bool("update", false, "write testdata/formatN.dump and .sqlite.gz")

// formatRecords is what the files of testdata hold.
func formatRecords() (records []storage.Record) {
	for i := range 12 {
		signature, ciphertext := fmt.Appendf(nil, "signature %d", i), fmt.Appendf(nil, "ciphertext %d", i)
		r := storage.Record{ID: storage.NewID(signature, ciphertext), Born: storage.Hour(i), Signature: signature, Ciphertext: ciphertext}
		if i%3 > 0 {
			r.Nullifier = &storage.Nullifier{0: byte(i)}
		}
		records = append(records, r)
	}
	return records
}

// TestFormatHasANumber compares what is in a file with what its format is known to
// hold. Whoever changes that raises version, keeps reading the format before, and
// writes the new files with -update, which leaves the old ones alone.
func TestFormatHasANumber(t *testing.T) {
	path := filepath.Join(t.TempDir(), "messages.sqlite")
	s := mustOpen(t, path, Options{})
	for _, r := range formatRecords() {
		if _, err := s.Append(t.Context(), []storage.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Spend(t.Context(), []storage.SpentToken{{Token: storage.TokenID{1}, ID: storage.ID{2}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	dump := dumpOf(t, path)
	name := filepath.Join("testdata", fmt.Sprintf("format%d", version))
	if *update {
		writeFormat(t, name, dump, path)
	}
	want, err := os.ReadFile(name + ".dump")
	if err != nil || !bytes.Equal(dump, want) {
		t.Errorf("a file of format %d is not what %s.dump says, %v: a change of the format needs another number", version, name, err)
	}
}

// dumpOf is the schema and all rows of a database, but for the epoch.
func dumpOf(t *testing.T, path string) []byte {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var dump bytes.Buffer
	for _, query := range []string{
		"SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name",
		"SELECT printf('application %d format %d', application_id, user_version) FROM pragma_application_id, pragma_user_version",
		"SELECT 'auto_vacuum ' || auto_vacuum FROM pragma_auto_vacuum",
		"SELECT printf('%d %s %d %d %d %d %s %s', seq, hex(id), born, lowered, checksum, pieces, hex(signature), hex(ciphertext)) FROM envelopes ORDER BY seq",
		"SELECT printf('%d %s', n, hex(bytes)) FROM pieces ORDER BY n",
		"SELECT printf('%d %d', hash, seq) FROM signatures ORDER BY hash",
		"SELECT hex(token) || ' ' || typeof(paid) || ' ' || iif(typeof(paid) = 'blob', hex(paid), paid) FROM tokens ORDER BY token",
		"SELECT printf('%d %d %d', hour, count, bytes) FROM hours ORDER BY hour",
		"SELECT printf('%d %d %d %d %d %d %d %d', one, length(epoch), last, tokens, sum, floor, first, count) FROM meta",
	} {
		rows, err := db.QueryContext(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var line string
			if err := rows.Scan(&line); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(&dump, line)
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return dump.Bytes()
}

func writeFormat(t *testing.T, name string, dump []byte, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	w.Write(data)
	w.Close()
	for file, content := range map[string][]byte{name + ".dump": dump, name + ".sqlite.gz": packed.Bytes()} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// unpackFormat writes the file of a format to path.
func unpackFormat(t *testing.T, format int, path string) {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", fmt.Sprintf("format%d.sqlite.gz", format)))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, data)
}

// TestEarlierFormats opens a file of each format, and compares what comes of it with a new
// file of the same envelopes.
func TestEarlierFormats(t *testing.T) {
	for format := 1; format <= version; format++ {
		path := filepath.Join(t.TempDir(), "messages.sqlite")
		unpackFormat(t, format, path)
		s := mustOpen(t, path, Options{})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join("testdata", fmt.Sprintf("format%d.dump", version)))
		if got := dumpOf(t, path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("format %d: the file has\n%s, want\n%s (%v)", format, got, want, err)
		}
		s = mustOpen(t, path, Options{})
		if got := fileNames(t, s); len(got) != 3 {
			t.Errorf("format %d: the directory has %q", format, got)
		}
		records := formatRecords()
		outcomes, err := s.Append(t.Context(), records)
		for i, o := range outcomes {
			want := storage.Outcome{Status: storage.Replayed, Seq: storage.Seq(i + 1)}
			if records[i].Nullifier == nil {
				want.Status = storage.Duplicate
			}
			if o != want {
				t.Errorf("format %d, envelope %d: %v, want %v", format, i, o, want)
			}
		}
		if info, infoErr := s.Info(t.Context()); err != nil || infoErr != nil || info.Last != 12 || info.Count != 12 || info.Tokens != 9 {
			t.Errorf("format %d: %+v, %v, %v", format, info, err, infoErr)
		}
	}
}
