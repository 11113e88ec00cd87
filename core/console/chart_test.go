package console

import (
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/relay"
)

func TestChartCountsWhatComesInAnHour(t *testing.T) {
	var c charts
	at := time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)
	sample := func(after time.Duration, stored uint64) string {
		at = at.Add(after)
		c.addSamples(manager.Status{Servers: []manager.ServerStatus{{Name: "x", Relay: &relay.Status{Posts: relay.PostCounts{Stored: stored}}}}}, at)
		return c.chart("x").Text
	}
	sample(0, 1000) // came before anybody looked
	for _, step := range []struct {
		after  time.Duration
		stored uint64
		want   string
	}{
		{time.Minute, 1000, "No messages in the last 24 hours"},
		{time.Minute, 1001, "1 message in the last 24 hours"},
		{time.Hour, 1011, "11 messages in the last 24 hours, at most 10 in an hour"},
		{time.Minute, 5, "16 messages in the last 24 hours, at most 15 in an hour"}, // it was started anew
		{23 * time.Hour, 5, "15 messages in the last 24 hours, at most 15 in an hour"},
		{10000 * time.Hour, 5, "No messages in the last 24 hours"},
		{-30 * time.Hour, 7, "2 messages in the last 24 hours, at most 2 in an hour"}, // the clock was set back
	} {
		if got := sample(step.after, step.stored); got != step.want {
			t.Errorf("after %v and %d messages the chart says %q, not %q", step.after, step.stored, got, step.want)
		}
	}
	if path := c.chart("x").Path; !strings.HasPrefix(path, "M116 31v-30") {
		t.Errorf("the chart draws %q", path)
	}
}

func TestWords(t *testing.T) {
	for bytes, want := range map[uint64]string{0: "0 bytes", 999: "999 bytes", 1000: "1.0 kB", 15_400: "15 kB", 999_600: "1.0 MB", 2_147_483_648: "2.1 GB", 5e15: "5000 TB"} {
		if got := formatSize(bytes); got != want {
			t.Errorf("%d bytes are %q, not %q", bytes, got, want)
		}
	}
	if got := formatCount(1234567); got != "1\u202f234\u202f567" {
		t.Errorf("the count is %q", got)
	}
	for text, want := range map[string]string{"no room": "No room.", "ärger": "Ärger.", "": "", "what?": "What?"} {
		if got := capitalize(text); got != want {
			t.Errorf("%q becomes %q, not %q", text, got, want)
		}
	}
}
