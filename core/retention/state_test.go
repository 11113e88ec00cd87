package retention

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cwtch-relay/cwtch-relay/limits"
)

func TestStateIsKept(t *testing.T) {
	dir := t.TempDir()
	if s, found, err := loadState(dir); s != (state{}) || found || err != nil {
		t.Errorf("without a file: %+v, %v, %v", s, found, err)
	}
	want := state{Clock: Clock{Hour: 1, Claimed: 2, Waited: 3}, Undecided: true, Removed: 4, Compacting: true}
	if err := want.save(dir); err != nil {
		t.Fatal(err)
	}
	if s, found, err := loadState(dir); s != want || !found || err != nil {
		t.Errorf("%+v, %v, %v", s, found, err)
	}
	if err := os.WriteFile(filepath.Join(dir, stateName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, found, err := loadState(dir); s != (state{}) || found || err == nil {
		t.Errorf("a damaged file: %+v, %v, %v", s, found, err)
	}
}

// TestOldServerKeepsAllUntilItsRetentionIsWritten shows that the defaults of this release
// remove nothing of a server that is older, over a restart, until somebody writes them, and
// that a preview says what that will remove.
func TestOldServerKeepsAllUntilItsRetentionIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defaults := limits.Retention{MaxAge: 30 * day, MaxCount: 10, MinAge: day}
		k := newKeeperTest(t, defaults)
		k.config.Limits.Written, k.config.Old = false, true
		k.post(20, 60*day)
		k.post(5, 0)
		for range 2 {
			keeper := k.start()
			sleep(3 * day)
			if st := keeper.Status(); k.info().Count != 25 || !st.Undecided || !keeper.Undecided() || k.reason() != "" {
				t.Fatalf("%d envelopes of 25 are left, %q: %+v", k.info().Count, k.reason(), st)
			}
			keeper.Stop()
		}
		if n := strings.Count(k.log.String(), "no retention block"); n != 2 {
			t.Errorf("said %d times by two starts", n)
		}
		keeper := k.start()
		written := defaults
		written.Written = true
		if d, err := keeper.Preview(t.Context(), written); err != nil || d.Now.Gone.Count != 20 {
			t.Errorf("preview: %+v, %v", d, err)
		}
		keeper.SetRetention(written)
		sleep(every)
		if st := keeper.Status(); k.info().Count != 5 || st.Undecided {
			t.Errorf("%d envelopes are left, want 5: %+v", k.info().Count, st)
		}
	})
}

// TestNewServerHasTheDefaults shows that nobody has to write them.
func TestNewServerHasTheDefaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeperTest(t, limits.Retention{MaxAge: 3 * day})
		k.config.Limits.Written = false
		k.post(20, 0) // the first ones, before the keeper has looked
		k.start().Stop()
		k.config.Old = true
		keeper := k.start()
		sleep(4 * day)
		if st := keeper.Status(); k.info().Count != 0 || st.Undecided {
			t.Errorf("%d envelopes are left: %+v", k.info().Count, st)
		}
	})
}
