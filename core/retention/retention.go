// Package retention decides what a server lets go of, and does it. It is for the
// manager: [Start] keeps the store of one server within a [limits.Retention].
//
// # What goes
//
// The store is pruned in whole hours, oldest first, by raising its floor; see
// [storage.Pruner]. Three limits raise it:
//
//   - Retention.MaxAge: an hour that ended longer ago than this goes.
//   - Retention.MaxBytes and Retention.MaxCount: when the envelopes exceed one of them, the
//     oldest hours go until nine tenths of it are left, so that a full store is not
//     pruned all the time. No more than that goes: without the last hour of it, more
//     than nine tenths would be left.
//
// # What stays
//
// Whoever fills a server must not be able to erase its history. The two limits on size
// therefore spare every hour that is younger than Retention.MinAge, even a single one that
// exceeds the limit by itself. If the rest cannot be brought below the limit, the server
// refuses posts until it is, and the status says why. Hours in the future count as young:
// they are the last to go.
//
// Peers bring envelopes outside of the budget for posts. They must not be able to have posts
// refused, so the last quarter of a limit on size is for posts alone: while what is younger than
// MinAge takes more than three quarters, nothing is taken from peers. Nothing is lost by that, it
// comes later.
//
// # Time
//
// A clock that jumps deletes nothing by itself. Ages are measured from the [Clock],
// which follows the clock of the machine, unless that is suddenly more than [Leap] ahead.
// A relay that was off for long sees the same. In both cases the clock stays where it is
// until the relay has run for another [Leap] with the network open, in which an operator
// can see the warning; tor does not work with a wrong clock. The clock follows at once if
// the clock of the machine goes back. No floor is ever lowered by that.
//
// # Work
//
// Prune runs in the background in small steps. A step that took long makes the next one
// smaller, and after each the loop rests nine times as long as the step took, in which
// posts have the store for themselves. Steps of a compaction are longer, and it rests three
// times as long, because posts do not wait for most of a step.
//
// # Disk reserve
//
// While the file system of the server has less room than Retention.KeepFree, posts are
// refused and reads go on. The log and the status say once how much of what was used up in
// the last day is the store and how much came from elsewhere.
package retention

import (
	"time"

	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// hoursOf returns how many hours d begins.
func hoursOf(d time.Duration) storage.Hour { return storage.Hour((d + time.Hour - 1) / time.Hour) }

// before returns the hour that lies d before h, or 0.
func before(h storage.Hour, d time.Duration) storage.Hour { return h - min(h, hoursOf(d)) }

// Decision is what a retention makes of a store.
type Decision struct {
	Floor storage.Hour // never lower than it was
	Gone  storage.HourSize
	Left  storage.HourSize // Hour is the oldest one that is left, or 0
	Hours int              // that go
	// Newest is the newest hour that goes; 0 if none does.
	Newest storage.Hour
	Over   Limit // that cannot be kept, because everything left is younger than MinAge
	// Young is what of Left is younger than MinAge.
	Young storage.HourSize
}

// Limit names a limit of a retention.
type Limit string

const (
	NoLimit  Limit = ""
	MaxBytes Limit = "max_bytes"
	MaxCount Limit = "max_count"
)

// Decide returns what should go of a store that has the given hours, ascending, and the
// given floor, when it is the hour now.
func Decide(r limits.Retention, hours []storage.HourSize, floor, now storage.Hour) Decision {
	d := Decision{Floor: floor}
	if r.MaxAge > 0 {
		d.Floor = max(floor, before(now, r.MaxAge))
	}
	for _, h := range hours {
		d.Left.Count += h.Count
		d.Left.Bytes += h.Bytes
	}
	spared := before(now, r.MinAge)
	rest, shrinking := hours, false
	for ; len(rest) > 0; rest = rest[1:] {
		h := rest[0]
		if h.Hour >= d.Floor {
			if shrinking = shrinking || exceeded(r, d.Left) != NoLimit; !shrinking || h.Hour >= spared || fits(r, d.Left) {
				break
			}
			d.Floor = h.Hour + 1
		}
		d.Hours++
		d.Newest = h.Hour
		d.Gone.Count, d.Gone.Bytes = d.Gone.Count+h.Count, d.Gone.Bytes+h.Bytes
		d.Left.Count, d.Left.Bytes = d.Left.Count-h.Count, d.Left.Bytes-h.Bytes
	}
	if len(rest) > 0 {
		d.Left.Hour = rest[0].Hour
	}
	for _, h := range rest {
		if h.Hour >= spared {
			d.Young.Count, d.Young.Bytes = d.Young.Count+h.Count, d.Young.Bytes+h.Bytes
		}
	}
	d.Over = exceeded(r, d.Left)
	return d
}

// exceeded returns a limit on size that size exceeds.
func exceeded(r limits.Retention, size storage.HourSize) Limit {
	switch {
	case r.MaxBytes > 0 && size.Bytes > r.MaxBytes:
		return MaxBytes
	case r.MaxCount > 0 && size.Count > r.MaxCount:
		return MaxCount
	}
	return NoLimit
}

// crowdedLimit returns a limit on size of which young envelopes take more than peers may fill. Once
// they did, they have to take a tenth less until they no longer do: every hour, some become old.
func crowdedLimit(r limits.Retention, young storage.HourSize, was bool) Limit {
	most := limits.Retention{MaxBytes: r.MaxBytes / 4 * 3, MaxCount: r.MaxCount / 4 * 3}
	if was {
		most.MaxBytes, most.MaxCount = most.MaxBytes/10*9, most.MaxCount/10*9
	}
	return exceeded(most, young)
}

// fits reports whether size is what a limit on size leaves once it was exceeded.
func fits(r limits.Retention, size storage.HourSize) bool {
	return (r.MaxBytes == 0 || size.Bytes <= r.MaxBytes-r.MaxBytes/10) && (r.MaxCount == 0 || size.Count <= r.MaxCount-r.MaxCount/10)
}
