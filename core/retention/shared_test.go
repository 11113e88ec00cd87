package retention

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Memory is a Watcher, so that other relays may share it.
func TestKeeperFollowsTheFloorOfAnotherRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeperTest(t, limits.Retention{})
		k.post(10, 48*time.Hour)
		k.start()
		floor := storage.HourOf(time.Now().Add(-24 * time.Hour))
		if _, err := k.store.Prune(context.Background(), storage.PruneRequest{Floor: floor}); err != nil {
			t.Fatal(err)
		}
		sleep(2 * every)
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.floors != 1 {
			t.Errorf("the board was told %d times that the floor rose, want once", k.floors)
		}
	})
}

func TestTwoKeepersOfOneStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeperTest(t, limits.Retention{MaxAge: 24 * time.Hour})
		other := newKeeperTest(t, limits.Retention{MaxAge: 36 * time.Hour})
		other.store, other.config.Store = k.store, k.store
		k.post(5000, 48*time.Hour)
		k.post(10, 30*time.Hour)
		k.post(1, 0)
		other.start()
		k.start()
		sleep(time.Hour)
		info := k.info()
		if want := storage.HourOf(time.Now().Add(-24 * time.Hour)); info.Count != 1 || info.Floor > want || info.Floor+2 < want {
			t.Errorf("the store has %d envelopes above %d, want one above %d", info.Count, info.Floor, want)
		}
		if text := k.log.String() + other.log.String(); len(text) == 0 || strings.Contains(text, "level=WARN") {
			t.Errorf("the keepers log:\n%s", text)
		}
	})
}
