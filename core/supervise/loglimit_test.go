package supervise

import (
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// TestFloodIsFewLines shows that a plugin that repeats itself as fast as it can gets
// few lines into the log, and that the relay's own lines about it are all there.
func TestFloodIsFewLines(t *testing.T) {
	r := startSupervised(t, nil, "flood")
	r.mustBeReady()
	for range 200 {
		if _, err := r.Storage().Append(r.ctx(), []storage.Record{newRecord(1)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Stop(r.ctx()); err != nil {
		t.Error(err)
	}
	log := r.log.String()
	if n := strings.Count(log, "\n"); n > 40 {
		t.Errorf("%d lines are in the log", n)
	}
	for _, own := range []string{`msg="plugin ready"`, `msg="plugin stopped"`} {
		if !strings.Contains(log, own) {
			t.Errorf("the log has no %s", own)
		}
	}
}
