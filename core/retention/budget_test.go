package retention

import (
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// TestBudgetFitsWithinMinAge fills a server as fast as its budget lets anybody: with a full
// day at once and then steadily. It never gets full, and nothing younger than MinAge goes.
func TestBudgetFitsWithinMinAge(t *testing.T) {
	const days = 24 * time.Hour
	for _, p := range []limits.Retention{
		{MaxAge: 365 * days, MinAge: 30 * days, MaxBytes: 2 << 30, MaxCount: 1_000_000},
		{MaxAge: 365 * days, MinAge: days, MaxBytes: 64 << 20, MaxCount: 20_000},
		{MinAge: 300 * days, MaxBytes: 1 << 40, MaxCount: 1 << 30},
	} {
		posts, bytes := p.Budget()
		var hours []storage.HourSize
		floor := storage.Hour(0)
		first := storage.Hour(400_000)
		for now := first; now < first+2*hoursOf(p.MinAge)+48; now++ {
			size := storage.HourSize{Hour: now, Count: uint64(posts), Bytes: uint64(bytes) / 24}
			if now == first {
				size.Count, size.Bytes = 25*size.Count, 25*size.Bytes
			}
			hours = append(hours, size)
			d := Decide(p, hours, floor, now)
			if d.Over != NoLimit {
				t.Fatalf("%+v: full after %d hours", p, now-first)
			}
			if floor = d.Floor; floor > before(now, p.MinAge) {
				t.Fatalf("%+v: what is younger than min_age goes after %d hours", p, now-first)
			}
			hours = hours[d.Hours:]
		}
		if floor == 0 {
			t.Errorf("%+v: nothing was ever removed, so the test shows nothing", p)
		}
	}
}
