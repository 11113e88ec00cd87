package manager

import (
	"testing"
	"time"
)

func TestCheckClock(t *testing.T) {
	if err := checkClock(time.Unix(0, 0)); err == nil {
		t.Error("1970 was accepted")
	}
	if err := checkClock(time.Now()); err != nil {
		t.Error(err)
	}
}
