package supervise

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestUntilNext shows that all who wait wake up together, whenever they began to wait.
func TestUntilNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct{ after, want time.Duration }{
			{0, 5 * time.Second},
			{1300 * time.Millisecond, 3700 * time.Millisecond},
			{3699 * time.Millisecond, time.Millisecond},
			{time.Millisecond, 5 * time.Second},
		} {
			time.Sleep(c.after)
			if got := untilNext(5 * time.Second); got != c.want {
				t.Errorf("at %v it is %v until the next time, want %v", time.Now(), got, c.want)
			}
		}
	})
}
