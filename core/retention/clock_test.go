package retention

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const year = storage.Hour(365 * 24)

func TestClockFollowsTheMachine(t *testing.T) {
	c := NewClock(0, 1000)
	for h := storage.Hour(1000); h < 1100; h++ {
		if c = c.Advance(h, time.Hour); c.Hour != h {
			t.Fatalf("%+v at hour %d", c, h)
		}
	}
}

// TestClockAheadIsNotBelievedForADay shows it for a clock that is a year ahead, whether it
// goes back or stays.
func TestClockAheadIsNotBelievedForADay(t *testing.T) {
	c := Clock{Hour: 1000}.Advance(1000+year, 0)
	for n := range storage.Hour(23) {
		if c = c.Advance(1001+year+n, time.Hour); c.Hour != 1000 || c.Waits() == 0 {
			t.Fatalf("after %d hours: %+v", n+1, c)
		}
	}
	if back := c.Advance(1024, time.Hour); back.Hour != 1024 || back.Waits() != 0 {
		t.Errorf("after it went back: %+v", back)
	}
	if c = c.Advance(1024+year, time.Hour); c.Hour != 1024+year {
		t.Errorf("after a day: %+v", c)
	}
}

func TestClockAheadWaitsWhileTheNetworkIsNotOpen(t *testing.T) {
	c := Clock{Hour: 1000}
	for n := range storage.Hour(1000) {
		c = c.Advance(1000+year+n, 0)
	}
	if c.Hour != 1000 {
		t.Errorf("%+v", c)
	}
}

func TestClockThatLeapsAgainWaitsAgain(t *testing.T) {
	c := Clock{Hour: 1000}.Advance(1100, 0).Advance(1123, 23*time.Hour)
	if c = c.Advance(1123+year, time.Hour); c.Hour != 1000 || c.Waits() != Leap {
		t.Errorf("%+v", c)
	}
}

// TestClockOfARelayThatRunsOneDayAWeek shows that such a relay catches up, if it runs for
// eight hours each time.
func TestClockOfARelayThatRunsOneDayAWeek(t *testing.T) {
	c, now := Clock{Hour: 1000}, storage.Hour(1000)
	for range 4 {
		now += 7*24 - 8
		c = c.Advance(now, 0) // at its start
		for range 8 {
			now++
			c = c.Advance(now, time.Hour)
		}
	}
	if c.Hour+7*24 < now {
		t.Errorf("%+v after four weeks, at hour %d", c, now)
	}
}

func TestClockIsNeverAheadOfTheMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := NewClock(storage.Hour(rapid.Uint32().Draw(t, "newest")), storage.Hour(rapid.Uint32().Draw(t, "machine")))
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			machine := storage.Hour(rapid.Uint32Range(0, 1<<22).Draw(t, "machine"))
			was := c
			c = c.Advance(machine, time.Duration(rapid.Int64Range(0, int64(3*time.Hour)).Draw(t, "ran")))
			if c.Hour > machine {
				t.Fatalf("%+v at hour %d", c, machine)
			}
			if c.Hour > was.Hour && c.Hour-was.Hour > 24 && was.Waited < 21*time.Hour {
				t.Fatalf("from %+v to %+v", was, c)
			}
		}
	})
}
