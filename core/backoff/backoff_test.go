package backoff

import (
	"testing"
	"time"
)

// wantNext checks that the next delay is between half of bound and bound.
func wantNext(t *testing.T, b *Backoff, bound time.Duration) {
	t.Helper()
	if got := b.Next(); got < bound/2 || got > bound {
		t.Errorf("the delay is %v, want at most %v and at least half of it", got, bound)
	}
}

func TestDelaysDoubleUpToMax(t *testing.T) {
	b := Backoff{Min: 200 * time.Millisecond, Max: 30 * time.Second}
	for _, bound := range []time.Duration{200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000} {
		wantNext(t, &b, bound*time.Millisecond)
	}
}

func TestResetBeginsWithMin(t *testing.T) {
	b := Backoff{Min: time.Second, Max: time.Minute}
	for range 5 {
		b.Next()
	}
	b.Reset()
	wantNext(t, &b, time.Second)
	wantNext(t, &b, 2*time.Second)
}

func TestMaxBoundsMin(t *testing.T) {
	wantNext(t, &Backoff{Min: time.Hour, Max: time.Minute}, time.Minute)
}

func TestJitterSpreadsDelays(t *testing.T) {
	low, high := time.Hour, time.Duration(0)
	for range 1000 {
		d := (&Backoff{Min: time.Second, Max: time.Second}).Next()
		low, high = min(low, d), max(high, d)
	}
	if low > 550*time.Millisecond || high < 950*time.Millisecond {
		t.Errorf("a thousand delays are from %v to %v, want half a second to one", low, high)
	}
}
