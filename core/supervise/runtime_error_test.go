package supervise

import (
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// TestStatusSaysWhatTheRuntimeSaid shows that the status has the last words of a runtime,
// which writes them as plain text, beside how the process ended.
func TestStatusSaysWhatTheRuntimeSaid(t *testing.T) {
	r := startSupervised(t, stayInBackoff, "heap")
	r.mustBeReady()
	if _, err := r.Storage().Append(r.ctx(), []storage.Record{newRecord(1)}); err == nil {
		t.Error("append succeeded")
	}
	s := r.await("in backoff", func(s Status) bool { return s.State == Backoff })
	if want := "exit status 134: FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory"; !strings.Contains(s.LastError, want) {
		t.Errorf("the last error is %q, want %q", s.LastError, want)
	}
}
