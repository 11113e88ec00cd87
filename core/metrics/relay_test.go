package metrics

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/doctor"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

// fullRelayStatus returns figures in which every number is different and every text is a
// secret.
func fullRelayStatus() relayFigures {
	return relayFigures{RelayStatus{
		Plugins: []supervise.Status{
			{Kind: plugin.KindStorage, State: supervise.Ready, Restarts: 1, Memory: 5<<20 + 1, Name: "a secret", PID: 4711},
			{Kind: plugin.KindStats, State: supervise.Failed, Restarts: 2, LastError: "a secret", Reason: "a secret"},
			{Kind: plugin.KindStats, State: supervise.Backoff, Restarts: 4, Memory: 1 << 20},
			{Kind: plugin.KindStats, State: supervise.Backoff, Memory: 2 << 20},
		},
		PastRestarts:   map[plugin.Kind]int{plugin.KindStats: 8, plugin.KindPeerSync: 16},
		TokenPublished: true,
		Reachability:   doctor.Reachability{Problem: "a secret", BoardFailures: 30, TokenFailures: 31, BoardRepublished: 32, TokenRepublished: 33},
		Network: onion.Status{
			Network: "tor", State: onion.Ready, Restarts: 3, Summary: "a secret", Version: "0.4.9",
			Services: []onion.Service{{Onion: "asecret", Published: true}},
		},
		Memory: 9<<20 - 1, LogLines: 7,
	}, Status{Exported: 20, Dropped: 21, Failed: 22, LastError: "a secret"}}
}

func TestRelayMetrics(t *testing.T) {
	got := make(map[string]float64)
	for _, m := range readAll(relayTable, fullRelayStatus()) {
		for _, p := range m.Points {
			name := m.Name
			for _, l := range p.Labels {
				name += " " + l.Value
			}
			got[name] = p.Value
		}
	}
	want := map[string]float64{
		"plugins storage ready": 1, "plugins stats failed": 1, "plugins stats backoff": 2,
		"plugin_restarts storage": 1, "plugin_restarts stats": 14, "plugin_restarts peersync": 16,
		"plugin_memory_bytes storage": 6 << 20, "plugin_memory_bytes stats": 3 << 20,
		"snapshots exported": 20, "snapshots dropped": 21, "snapshots failed": 22,
		"services_published token": 1,
		"reach_failures board":     30, "reach_failures token": 31, "services_republished board": 32, "services_republished token": 33,
		"network_ready": 1, "network_restarts": 3,
		"relay_memory_bytes": 9 << 20, "log_lines_dropped": 7,
	}
	for name, value := range got {
		if value != want[name] {
			t.Errorf("%s is %v, want %v", name, value, want[name])
		}
	}
	for name := range want {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
}

// A series exists before it first counts, so that an alarm can be raised for the first time.
func TestSeriesExistBeforeTheyCount(t *testing.T) {
	series := func(from relayFigures) (out []string) {
		for _, m := range readAll(relayTable, from) {
			for _, p := range m.Points {
				out = append(out, fmt.Sprint(m.Name, p.Labels))
			}
		}
		return out
	}
	if empty, full := fmt.Sprint(series(relayFigures{})), fmt.Sprint(series(fullRelayStatus())); empty != full {
		t.Errorf("at first there is\n%s\nand later\n%s", empty, full)
	}
}

// All metrics together keep the rules of package stats, for names and units above all.
func TestSnapshotKeepsTheRulesOfStats(t *testing.T) {
	st, _ := fullStatus(t)
	st.Problem = "a secret"
	s := stats.Snapshot{Server: "club", Epoch: stats.NewEpoch(), Seq: 1, Metrics: append(readAll(serverTable, st), readAll(relayTable, fullRelayStatus())...)}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	units := map[string]bool{"": true, "bytes": true, "seconds": true}
	words := regexp.MustCompile(`^[a-z_]+$`)
	for _, m := range s.Metrics {
		if !units[m.Unit] {
			t.Errorf("%s has the unit %q, which OpenMetrics does not know as a base unit", m.Name, m.Unit)
		}
		for unit := range units {
			if unit != "" && m.Unit != unit && strings.Contains(m.Name+"_", "_"+unit+"_") {
				t.Errorf("%s has the unit %q", m.Name, m.Unit)
			}
		}
		if m.Doc == "" || !strings.HasSuffix(m.Doc, ".") {
			t.Errorf("%s has the doc %q, which is not a sentence", m.Name, m.Doc)
		}
		for _, p := range m.Points {
			for _, l := range p.Labels {
				if !words.MatchString(l.Value) {
					t.Errorf("%s has the label %s=%q", m.Name, l.Name, l.Value)
				}
			}
		}
	}
	if text := fmt.Sprintf("%+v", s.Metrics); strings.Contains(text, "secret") {
		t.Errorf("a text is among the numbers: %s", text)
	}
}

// A counter never falls, so the results of a removed exporter stay counted.
func TestSnapshotCountsOutliveTheirExporter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed((&fakeServer{since: time.Now()}).counts)
		defer f.Close()
		first := f.Add("stats/first", &recordingExporter{})
		f.Distribute(t.Context())
		synctest.Wait()
		first.Stop(t.Context()) // with a last snapshot
		second := &recordingExporter{}
		o := f.Add("stats/second", second)
		f.Distribute(t.Context())
		synctest.Wait()
		if got := snapshotCounts(second.got[0]); got["exported"] != 2 || got["failed"] != 0 {
			t.Errorf("before the third snapshot these were counted: %v", got)
		}
		if second.got[0].Server != "club" {
			t.Errorf("the numbers are those of server %q", second.got[0].Server)
		}
		o.Stop(t.Context())
	})
}

// What the relay counted before a server started is not counted for that server.
func TestRelayCountersBeginWithTheEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, restarts := &fakeServer{since: time.Now()}, 5
		f := newFeed(func(ctx context.Context) (relay.Status, RelayStatus, bool) {
			st, _, ok := s.counts(ctx)
			return st, RelayStatus{Network: onion.Status{Restarts: restarts}, LogLines: 9}, ok
		})
		defer f.Close()
		e := &recordingExporter{}
		o := f.Add("stats/test", e)
		for _, again := range []int{0, 2, 1} {
			restarts += again
			f.Distribute(t.Context())
			synctest.Wait()
		}
		time.Sleep(time.Second)
		s.restart()
		f.Distribute(t.Context())
		synctest.Wait()
		restarts++
		o.Stop(t.Context())
		var got []float64
		for _, s := range e.got {
			for _, m := range s.Metrics {
				switch m.Name {
				case "network_restarts":
					got = append(got, m.Points[0].Value)
				case "log_lines_dropped":
					if m.Points[0].Value != 0 {
						t.Errorf("%v lines were dropped since the server started", m.Points[0].Value)
					}
				}
			}
		}
		if want := []float64{0, 2, 3, 0, 1}; !slices.Equal(got, want) {
			t.Errorf("restarts are %v, want %v", got, want)
		}
	})
}

func snapshotCounts(s stats.Snapshot) map[string]float64 {
	out := make(map[string]float64)
	for _, m := range s.Metrics {
		for _, p := range m.Points {
			if m.Name == "snapshots" {
				out[p.Labels[0].Value] = p.Value
			}
		}
	}
	return out
}
