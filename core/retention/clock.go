package retention

import (
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	// Leap is how far the clock of the machine may be ahead of the evidence, and how
	// long the relay has to run before a clock that is further ahead is believed.
	Leap = 24 * time.Hour
	// leapAgain is how far it may move between two looks while it is not believed yet.
	// A relay that runs one day a week still gets there.
	leapAgain = 31 * 24 * time.Hour
)

// Clock is the time that deletions go by. Its zero value is not set.
type Clock struct {
	Hour storage.Hour `json:"hour"` // has passed or is passing, as far as is known
	// Claimed is what the clock of the machine said last while it is not believed, and
	// Waited how long the relay has run since.
	Claimed storage.Hour  `json:"claimed,omitempty"`
	Waited  time.Duration `json:"waited,omitempty"`
}

// NewClock returns the clock of a server that has none yet. Its evidence is the hour in
// which the newest envelope was born.
func NewClock(newest, machine storage.Hour) Clock {
	if newest == 0 { // nothing could be removed
		return Clock{Hour: machine}
	}
	return Clock{Hour: min(newest, machine)}
}

// Advance returns the clock when the clock of the machine says the given hour, after the
// relay has run for another ran with the network open.
func (c Clock) Advance(machine storage.Hour, ran time.Duration) Clock {
	if machine <= c.Hour || machine-c.Hour <= hoursOf(Leap) {
		return Clock{Hour: machine}
	}
	if c.Claimed == 0 || machine < c.Claimed || machine-c.Claimed > hoursOf(leapAgain) {
		return Clock{Hour: c.Hour, Claimed: machine}
	}
	c.Claimed, c.Waited = machine, c.Waited+ran
	if c.Waited >= Leap {
		return Clock{Hour: machine}
	}
	return c
}

// Waits returns how long the relay has to run until the clock of the machine is believed;
// 0 if it is.
func (c Clock) Waits() time.Duration {
	if c.Claimed == 0 {
		return 0
	}
	return Leap - c.Waited
}
