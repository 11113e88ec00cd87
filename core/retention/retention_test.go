package retention

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const day = 24 * time.Hour

// hoursAt returns hours of ten envelopes with ten bytes each.
func hoursAt(at ...storage.Hour) (hours []storage.HourSize) {
	for _, h := range at {
		hours = append(hours, storage.HourSize{Hour: h, Count: 10, Bytes: 100})
	}
	return hours
}

func TestDecide(t *testing.T) {
	const now = 10_000
	for name, c := range map[string]struct {
		policy limits.Retention
		hours  []storage.HourSize
		floor  storage.Hour
		want   storage.Hour
		over   Limit
	}{
		"no limits":                      {limits.Retention{}, hoursAt(1, 2, 3), 0, 0, NoLimit},
		"an empty store":                 {limits.Retention{MaxAge: day, MaxBytes: 1, MaxCount: 1}, nil, 0, now - 24, NoLimit},
		"the age":                        {limits.Retention{MaxAge: day}, hoursAt(1, now-25, now-24, now), 0, now - 24, NoLimit},
		"an age that is no whole hour":   {limits.Retention{MaxAge: 90 * time.Minute}, hoursAt(now-3, now-2, now), 0, now - 2, NoLimit},
		"an age greater than all time":   {limits.Retention{MaxAge: 2 * now * time.Hour}, hoursAt(1), 0, 0, NoLimit},
		"a floor above the age":          {limits.Retention{MaxAge: day}, hoursAt(now), now - 5, now - 5, NoLimit},
		"bytes at the limit":             {limits.Retention{MaxBytes: 300}, hoursAt(1, 2, 3), 0, 0, NoLimit},
		"bytes above the limit":          {limits.Retention{MaxBytes: 299}, hoursAt(1, 2, 3), 0, 2, NoLimit},
		"count above the limit":          {limits.Retention{MaxCount: 29}, hoursAt(1, 2, 3), 0, 2, NoLimit},
		"nine tenths are left":           {limits.Retention{MaxCount: 100}, hoursAt(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11), 0, 3, NoLimit},
		"the age makes enough room":      {limits.Retention{MaxAge: day, MaxBytes: 250}, hoursAt(1, now-1, now), 0, now - 24, NoLimit},
		"both":                           {limits.Retention{MaxAge: day, MaxBytes: 199}, hoursAt(1, now-1, now), 0, now, NoLimit},
		"young hours stay":               {limits.Retention{MaxBytes: 50, MinAge: day}, hoursAt(now-30, now-24, now), 0, now - 29, MaxBytes},
		"one huge old hour goes":         {limits.Retention{MaxCount: 9, MinAge: day}, hoursAt(now - 100), 0, now - 99, NoLimit},
		"one huge young hour stays":      {limits.Retention{MaxCount: 9, MinAge: day}, hoursAt(now), 0, 0, MaxCount},
		"hours in the future stay":       {limits.Retention{MaxCount: 9, MinAge: day}, hoursAt(now+8760, now+8761), 0, 0, MaxCount},
		"the age spares none":            {limits.Retention{MaxAge: day, MinAge: day}, hoursAt(now - 25), 0, now - 24, NoLimit},
		"hours below the floor are gone": {limits.Retention{MaxBytes: 150}, hoursAt(1, 2), 2, 2, NoLimit},
	} {
		t.Run(name, func(t *testing.T) {
			if d := Decide(c.policy, c.hours, c.floor, now); d.Floor != c.want || d.Over != c.over {
				t.Errorf("floor %d, over %q; want %d, %q", d.Floor, d.Over, c.want, c.over)
			}
		})
	}
}

func drawHours(t *rapid.T, now storage.Hour) (hours []storage.HourSize) {
	h := storage.Hour(rapid.Uint32Range(1, uint32(now)).Draw(t, "first"))
	for range rapid.IntRange(0, 40).Draw(t, "hours") {
		hours = append(hours, storage.HourSize{Hour: h, Count: rapid.Uint64Range(1, 100).Draw(t, "count"), Bytes: rapid.Uint64Range(0, 1000).Draw(t, "bytes")})
		h += storage.Hour(rapid.Uint32Range(1, 60).Draw(t, "gap"))
	}
	return hours
}

// TestDecideKeepsItsPromises shows for any store and retention that the floor never falls,
// that the limits hold unless MinAge forbids it, and that nothing goes without need.
func TestDecideKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const now = 1000
		p := limits.Retention{
			MaxAge:   time.Duration(rapid.IntRange(0, 1200).Draw(t, "max age")) * time.Hour,
			MinAge:   time.Duration(rapid.IntRange(0, 600).Draw(t, "min age")) * time.Hour,
			MaxBytes: rapid.Uint64Range(0, 9000).Draw(t, "max bytes"),
			MaxCount: rapid.Uint64Range(0, 900).Draw(t, "max count"),
		}
		hours, floor := drawHours(t, now), storage.Hour(rapid.Uint32Range(0, 500).Draw(t, "floor"))
		d := Decide(p, hours, floor, now)
		if d.Floor < floor {
			t.Fatalf("the floor fell from %d to %d", floor, d.Floor)
		}
		highest := before(now, p.MinAge)
		if p.MaxAge > 0 {
			highest = max(highest, before(now, p.MaxAge))
		}
		if d.Floor > max(floor, highest) {
			t.Fatalf("at hour %d the floor rose to %d; what is younger than both ages stays", now, d.Floor)
		}
		var all, left storage.HourSize
		var lastGone storage.HourSize
		for _, h := range hours {
			if h.Hour >= floor {
				all.Count, all.Bytes = all.Count+h.Count, all.Bytes+h.Bytes
			}
			if h.Hour < d.Floor {
				lastGone = h
				continue
			}
			left.Count, left.Bytes = left.Count+h.Count, left.Bytes+h.Bytes
			if p.MaxAge > 0 && time.Duration(now-min(now, h.Hour))*time.Hour > p.MaxAge {
				t.Fatalf("hour %d is older than max_age and stays", h.Hour)
			}
		}
		if left.Count != d.Left.Count || left.Bytes != d.Left.Bytes {
			t.Fatalf("%+v are left, and it says %+v", left, d.Left)
		}
		spared := before(now, p.MinAge)
		tooLarge := p.MaxBytes > 0 && left.Bytes > p.MaxBytes || p.MaxCount > 0 && left.Count > p.MaxCount
		if tooLarge != (d.Over != NoLimit) {
			t.Fatalf("too large: %v, over: %q", tooLarge, d.Over)
		}
		for _, h := range hours {
			if tooLarge && h.Hour >= d.Floor && h.Hour < spared {
				t.Fatalf("the store is too large and hour %d stays", h.Hour)
			}
		}
		aged := p.MaxAge > 0 && lastGone.Hour < before(now, p.MaxAge)
		if lastGone.Count == 0 || lastGone.Hour < floor || aged {
			return // nothing went because of its size
		}
		if lastGone.Hour >= spared {
			t.Fatalf("hour %d is young and goes", lastGone.Hour)
		}
		if exceeded(p, all) == NoLimit {
			t.Fatalf("hour %d goes though %+v does not exceed a limit", lastGone.Hour, all)
		}
		left.Count, left.Bytes = left.Count+lastGone.Count, left.Bytes+lastGone.Bytes
		if fits(p, left) {
			t.Fatalf("hour %d goes though %+v fits with it", lastGone.Hour, left)
		}
	})
}

// TestDecideAgainChangesNothing shows that a store that was pruned is left alone.
func TestDecideAgainChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const now = 1000
		p := limits.Retention{MaxBytes: rapid.Uint64Range(1, 9000).Draw(t, "max bytes"), MinAge: day}
		hours := drawHours(t, now)
		d := Decide(p, hours, 0, now)
		for len(hours) > 0 && hours[0].Hour < d.Floor {
			hours = hours[1:]
		}
		if again := Decide(p, hours, d.Floor, now); again.Floor != d.Floor || again.Hours != 0 {
			t.Fatalf("floor %d, then %d", d.Floor, again.Floor)
		}
	})
}

func TestForecast(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	left, today := storage.HourSize{Count: 100, Bytes: 1000}, storage.HourSize{Count: 10, Bytes: 10}
	for name, c := range map[string]struct {
		policy limits.Retention
		days   int // 0: never
		limit  Limit
	}{
		"no limits":           {limits.Retention{}, 0, NoLimit},
		"bytes":               {limits.Retention{MaxBytes: 1100}, 10, MaxBytes},
		"the nearer one":      {limits.Retention{MaxBytes: 1100, MaxCount: 130}, 3, MaxCount},
		"more than ten years": {limits.Retention{MaxBytes: 1 << 40}, 0, NoLimit},
		"the age comes first": {limits.Retention{MaxCount: 130, MaxAge: 2 * day}, 0, NoLimit},
	} {
		t.Run(name, func(t *testing.T) {
			at, limit := Forecast(c.policy, left, today, now)
			switch {
			case limit != c.limit || (at == nil) != (c.days == 0):
				t.Errorf("%v, %q", at, limit)
			case at != nil && !at.Equal(now.AddDate(0, 0, c.days)):
				t.Errorf("%v, want in %d days", at, c.days)
			}
		})
	}
}
