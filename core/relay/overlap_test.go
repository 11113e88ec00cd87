package relay

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/board"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// fillHourly fills a store with the envelopes m1 to mn, of which a day has perDay. It writes the table
// of their hours, the last of which is the present one.
func fillHourly(t testing.TB, store storage.Store, n, perDay int) (hoursFile string) {
	t.Helper()
	type row struct {
		First storage.Seq  `json:"first"`
		Hour  storage.Hour `json:"hour"`
		Until storage.Hour `json:"until"`
	}
	var rows []row
	now := storage.HourOf(time.Now())
	for i := 1; i <= n; i++ {
		e := envelopeOf(fmt.Sprint("m", i))
		hour := now - storage.Hour((n-i)*24/perDay)
		r := storage.Record{ID: storage.NewID(e.Signature, e.Ciphertext), Born: hour, Signature: e.Signature, Ciphertext: e.Ciphertext}
		if _, err := store.Append(t.Context(), []storage.Record{r}); err != nil {
			t.Fatal(err)
		}
		if len(rows) == 0 || rows[len(rows)-1].Hour < hour {
			rows = append(rows, row{storage.Seq(i), hour, hour})
		}
	}
	info, err := store.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(map[string]any{"format": 1, "epoch": info.Epoch.String(), "rows": rows})
	if err != nil {
		t.Fatal(err)
	}
	hoursFile = filepath.Join(t.TempDir(), "hours.json")
	if err := os.WriteFile(hoursFile, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return hoursFile
}

// TestReplayOfAReplicatedBoard shows that a replay begins earlier on a board with replicas, and that
// the announced count is that of what comes.
func TestReplayOfAReplicatedBoard(t *testing.T) {
	store := storagetest.NewPruning()
	r := startServer(t, func(c *Config) {
		c.HoursFile = fillHourly(t, store, 9, 4)
		c.Store = store
	})
	store.Prune(7)
	p := r.connect()
	p.replay("m8")
	p.expect("count 2", "old m8", "old m9")
	r.Board().SetRoaming(true)
	p.replay("m8")
	p.expect("count 5", "old m4", "old m5", "old m6", "old m8", "old m9")
	p.replay("unknown")
	p.expect("count 8", "old m1", "old m2", "old m3", "old m4", "old m5", "old m6", "old m8", "old m9")
	p.post("m10", r.token())
	p.expect("posted true", "new m10")
	r.Board().SetRoaming(false)
	p.replay("m9")
	p.expect("count 2", "old m9", "old m10")
}

// BenchmarkReplayOverlap replays from the newest envelope of a board with 1000 of them a day.
func BenchmarkReplayOverlap(b *testing.B) {
	for _, replicated := range []bool{false, true} {
		b.Run(fmt.Sprint("replicated=", replicated), func(b *testing.B) {
			store := storagetest.NewMemory()
			brd, err := board.Open(b.Context(), board.Config{HoursFile: fillHourly(b, store, 4000, 1000), Store: store, RecentBytes: 1})
			if err != nil {
				b.Fatal(err)
			}
			defer brd.Close(b.Context())
			brd.SetRoaming(replicated)
			var envelopes int
			for b.Loop() {
				from, err := brd.Find(b.Context(), envelopeOf("m4000").Signature)
				if err != nil {
					b.Fatal(err)
				}
				for c := brd.CursorAt(from); !c.Passed(4000); {
					page, err := c.Next(b.Context(), 4000, 256<<10)
					if err != nil {
						b.Fatal(err)
					}
					envelopes += len(page)
				}
			}
			b.ReportMetric(float64(envelopes)/float64(b.N), "envelopes/op")
		})
	}
}
