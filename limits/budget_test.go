package limits

import (
	"testing"
	"time"
)

func TestBudgetOfSmallAndUnlimitedServers(t *testing.T) {
	if posts, bytes := (Retention{}).Budget(); posts != 0 || bytes != 0 {
		t.Errorf("a server without limits takes %d posts and %d bytes", posts, bytes)
	}
	small := Retention{MinAge: 30 * 24 * time.Hour, MaxCount: 1000, MaxBytes: 16 << 20}
	if posts, bytes := small.Budget(); posts != leastPosts || bytes != leastBytes {
		t.Errorf("a tiny server takes %d posts and %d bytes", posts, bytes)
	}
}
