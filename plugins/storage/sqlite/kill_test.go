package sqlite

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	// workerPath is the variable that has a process of this test use a store.
	workerPath = "SQLITE_TEST_WORKER"
	// killRounds is the variable with the number of kills, if it is not the usual one.
	killRounds = "CWTCH_RELAY_KILL_ROUNDS"
	// workerHour is how many records are of one hour.
	workerHour = 40
)

// workerRecord is the record with a number: always the same one.
func workerRecord(n int) storage.Record {
	h := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
	signature, ciphertext := h[:16], bytes.Repeat(h[:], 1+n*7%80)
	nullifier := storage.Nullifier(sha256.Sum256(h[:]))
	return storage.Record{
		ID: storage.NewID(signature, ciphertext), Born: storage.Hour(1000 + n/workerHour), Signature: signature, Ciphertext: ciphertext, Nullifier: &nullifier,
	}
}

func workerRecords(first, n int) (records []storage.Record) {
	for i := range n {
		records = append(records, workerRecord(first+i))
	}
	return records
}

// TestKillWorker appends, prunes and compacts until it is killed, for TestKilledWhilePruning.
// It says before each call what it will do, and after it that it is done.
func TestKillWorker(t *testing.T) {
	path := os.Getenv(workerPath)
	if path == "" {
		t.Skip("only runs as the process that TestKilledWhilePruning kills")
	}
	path, start, _ := strings.Cut(path, "|")
	next, err := strconv.Atoi(start)
	if err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, path, Options{MaxWAL: 128 << 10})
	say := func(format string, values ...any) { os.Stdout.WriteString(fmt.Sprintf(format, values...) + "\n") }
	say("open")
	for {
		n := 1 + rand.IntN(60)
		say("append %d %d", next, n)
		if _, err := s.Append(t.Context(), workerRecords(next, n)); err != nil {
			t.Fatal(err)
		}
		say("done")
		next += n
		floor := workerRecord(next).Born - 6
		say("prune %d", floor)
		if _, err := s.Prune(t.Context(), storage.PruneRequest{Floor: floor, Max: 1 + rand.IntN(50)}); err != nil {
			t.Fatal(err)
		}
		say("done")
		for more := true; more; {
			say("compact")
			// Transactions of a page or two, so that most kills come in a compaction.
			c, err := s.Compact(t.Context(), storage.CompactRequest{Room: 1 << 20, Max: 1 << (13 + rand.IntN(2))})
			if err != nil {
				t.Fatal(err)
			}
			say("done")
			more = c.More
		}
	}
}

// killModel is what a store must have after a kill.
type killModel struct {
	next        int // record
	floor       storage.Hour
	cutFirst, n int          // of the append that was cut off
	cutFloor    storage.Hour // of the prune that was cut off
	in          map[string]int
}

// runUntilKilled has a process use the store, kills it, and notes what it said.
func (m *killModel) runUntilKilled(t *testing.T, path string) {
	t.Helper()
	m.cutFirst, m.n, m.cutFloor = 0, 0, 0
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestKillWorker$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%d", workerPath, path, m.next))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	last := "before it was open"
	for lines.Scan() {
		text := lines.Text()
		var what string
		var a, b int
		if k, _ := fmt.Sscan(text, &what, &a, &b); k == 0 {
			continue
		}
		switch what {
		case "open":
			time.AfterFunc(time.Duration(rand.Int64N(int64(120*time.Millisecond))), cancel)
		case "append":
			m.cutFirst, m.n = a, b
		case "prune":
			m.cutFloor = storage.Hour(a)
		case "done":
			m.next, m.floor = m.next+m.n, max(m.floor, m.cutFloor)
			m.cutFirst, m.n, m.cutFloor = 0, 0, 0
			what = "between two calls"
		case "compact":
		default:
			continue
		}
		last = what
	}
	m.in[last]++
	if err := cmd.Wait(); ctx.Err() == nil {
		t.Fatalf("the process ended by itself: %v, %s", err, last)
	}
}

// checkStore compares a store with the model.
func (m *killModel) checkStore(t *testing.T, s *Store) {
	t.Helper()
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Floor != m.floor && (m.cutFloor == 0 || info.Floor != max(m.floor, m.cutFloor)) {
		t.Fatalf("the floor is %d, and was %d or %d", info.Floor, m.floor, m.cutFloor)
	}
	m.floor = info.Floor
	if int(info.Last) == m.next+m.n {
		m.next += m.n
	}
	if int(info.Last) != m.next || int(info.Tokens) != m.next {
		t.Fatalf("%+v, want %d envelopes and tokens", info, m.next)
	}
	first := 0
	for first < m.next && workerRecord(first).Born < m.floor {
		first++
	}
	count := 0
	for from := storage.Seq(1); ; {
		page, err := s.Log(t.Context(), storage.LogRequest{From: from})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Entries) == 0 {
			break
		}
		for _, e := range page.Entries {
			r := workerRecord(first + count)
			if int(e.Seq) != first+count+1 || e.ID != r.ID || e.Born != r.Born || !bytes.Equal(e.Ciphertext, r.Ciphertext) {
				t.Fatalf("at %d there is another envelope than %d", e.Seq, first+count)
			}
			count++
			from = e.Seq + 1
		}
	}
	if count != m.next-first || int(info.Count) != count {
		t.Fatalf("the log has %d envelopes of %d", count, m.next-first)
	}
}

// checkTokens tries to spend every token again.
func (m *killModel) checkTokens(t *testing.T, s *Store) {
	t.Helper()
	for i := 0; i < m.next; i += 200 {
		var thefts []storage.Record
		for j := i; j < min(i+200, m.next); j++ {
			theft := workerRecord(j + 1<<24)
			theft.Nullifier = workerRecord(j).Nullifier
			theft.Born = m.floor + 1
			thefts = append(thefts, theft)
		}
		outcomes, err := s.Append(t.Context(), thefts)
		if err != nil {
			t.Fatal(err)
		}
		for j, o := range outcomes {
			if o.Status != storage.Spent {
				t.Fatalf("token %d can be spent again: %v", i+j, o)
			}
		}
	}
}

// TestKilledWhilePruning kills a process that appends, prunes and compacts, again and again:
// nothing that was acknowledged and is not pruned is lost, nothing that is pruned comes back,
// and no token can be spent again. What a kill leaves has no fault for an inspection.
func TestKilledWhilePruning(t *testing.T) {
	rounds := 12
	if n, err := strconv.Atoi(os.Getenv(killRounds)); err == nil {
		rounds = n
	}
	path := filepath.Join(t.TempDir(), "messages.sqlite")
	m := &killModel{in: make(map[string]int)}
	for round := range rounds {
		m.runUntilKilled(t, path)
		if round%4 == 0 {
			x, err := Inspect(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := readInspected(t, x); len(got.faults) > 0 {
				t.Fatalf("after a kill: %q", got.faults)
			}
			x.Close()
		}
		s := mustOpen(t, path, Options{MaxWAL: 128 << 10})
		m.checkStore(t, s)
		if round == rounds-1 || round%20 == 19 {
			m.checkTokens(t, s)
			checkIntegrity(t, s)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d envelopes, floor %d, %d KiB; the kills came in: %v", m.next, m.floor, fileSize(path)>>10, maps.Clone(m.in))
}
