package retention

import (
	"time"

	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Status is the retention of a server as its operator sees it. Its JSON form is part of
// the output of the status command. Hours are given as the time at which they begin.
type Status struct {
	Unable bool `json:"unable,omitempty"` // the store cannot remove anything
	// Undecided: nothing is removed, because the server is older than its retention and
	// nobody has written one.
	Undecided bool `json:"undecided,omitempty"`
	// Floor is the hour before which nothing is kept; absent if nothing was ever pruned. Oldest
	// is the hour of the oldest envelope; absent if the store is empty.
	Floor  *time.Time `json:"floor,omitempty"`
	Oldest *time.Time `json:"oldest,omitempty"`
	// Envelopes and Bytes are what the limits count. Other relays of a shared store are
	// counted as of Looked.
	Envelopes uint64     `json:"envelopes"`
	Bytes     uint64     `json:"bytes"`
	Looked    *time.Time `json:"looked,omitempty"`
	Removed   uint64     `json:"removed"` // envelopes, since the start
	Removing  bool       `json:"removing,omitempty"`
	// Reached is when the nearest limit on size will be reached at the rate of the last
	// day, and ReachedLimit which one; absent if that is never, or after more than ten years.
	Reached      *time.Time `json:"reached,omitempty"`
	ReachedLimit Limit      `json:"reached_limit,omitempty"`
	Free         uint64     `json:"free"`              // bytes of the disk
	Future       uint64     `json:"future,omitempty"`  // envelopes of hours to come
	Waits        string     `json:"waits,omitempty"`   // why nothing is removed by age now
	Tight        string     `json:"tight,omitempty"`   // why the disk will be full before max_bytes is reached
	Refuses      string     `json:"refuses,omitempty"` // why posts are refused
	Trouble      string     `json:"trouble,omitempty"` // why old envelopes cannot be removed now
	// Compaction says when the files of the store become smaller.
	Compaction CompactionStatus `json:"compaction,omitzero"`
}

// Status describes the retention as it was at the last look.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status
}

// noteSize notes what the limits count now.
func (k *Keeper) noteSize(size storage.HourSize) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.status.Envelopes, k.status.Bytes = size.Count, size.Bytes
}

func (k *Keeper) noteStatus(r limits.Retention, d Decision, hours []storage.HourSize) {
	now := k.cfg.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	st := &k.status
	st.Floor, st.Oldest, st.Looked = timeOf(d.Floor), timeOf(d.Left.Hour), &now
	st.Envelopes, st.Bytes = d.Left.Count, d.Left.Bytes
	st.Future, st.Waits = 0, ""
	machine := storage.HourOf(now)
	var day storage.HourSize
	for _, h := range hours {
		switch {
		case h.Hour > machine:
			st.Future += h.Count
		case h.Hour+24 >= machine && h.Hour >= d.Floor:
			day.Count, day.Bytes = day.Count+h.Count, day.Bytes+h.Bytes
		}
	}
	if waits := k.state.Clock.Waits(); waits > 0 {
		st.Waits = "the clock of this machine is far ahead of the time up to which this server has run; if it is right, the relay believes it after running for another " + waits.Round(time.Hour).String()
	}
	st.Reached, st.ReachedLimit = Forecast(r, d.Left, day, now)
}

func timeOf(h storage.Hour) *time.Time {
	if h == 0 {
		return nil
	}
	return new(time.Unix(int64(h)*3600, 0).UTC())
}

// Forecast returns when a store will reach the nearest limit on its size if every day
// adds as much as day, or nil if that takes more than ten years, or if MaxAge keeps the
// store below the limits.
func Forecast(r limits.Retention, left, day storage.HourSize, now time.Time) (*time.Time, Limit) {
	const farthest = 3650.0
	days, limit := farthest, NoLimit
	for _, l := range []struct {
		limit          Limit
		most, has, add uint64
	}{{MaxBytes, r.MaxBytes, left.Bytes, day.Bytes}, {MaxCount, r.MaxCount, left.Count, day.Count}} {
		steady := float64(l.add) * r.MaxAge.Hours() / 24
		if l.most == 0 || l.add == 0 || r.MaxAge > 0 && l.has <= l.most && steady <= float64(l.most) {
			continue
		}
		if in := float64(l.most-min(l.most, l.has)) / float64(l.add); in < days {
			days, limit = in, l.limit
		}
	}
	if limit == NoLimit {
		return nil, NoLimit
	}
	return new(now.Add(time.Duration(days * 24 * float64(time.Hour)))), limit
}
