package manager

import (
	"fmt"
	"time"
)

// released is when this version was made; no right clock is before it.
var released = time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)

// checkClock refuses a clock that is certainly wrong, as that of a machine
// without a battery before it has asked for the time. Tor would not get
// anywhere with it, and envelopes would be kept under a wrong hour.
func checkClock(now time.Time) error {
	if now.Before(released) {
		return fmt.Errorf("the clock of this machine says %s, which is before this version was made: set it (timedatectl set-ntp true) and start again",
			now.UTC().Format("2006-01-02 15:04 MST"))
	}
	return nil
}
