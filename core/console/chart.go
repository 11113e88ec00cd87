package console

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

const (
	chartHours  = 24
	sampleEvery = time.Minute
)

// charts count the messages of each server in each of the last hours, as long as the relay
// runs. They are kept in memory alone.
type charts struct {
	mu      sync.Mutex
	servers map[string]*series
}

// series are the messages of one server.
type series struct {
	last  uint64 // what the server had counted at the last sample
	hour  int64  // of the newest count, in hours since 1970
	hours [chartHours]uint64
	first bool // last has no sample yet
}

// sampleCharts takes samples until ctx ends.
func (c *Console) sampleCharts(ctx context.Context) error {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		c.charts.addSamples(c.watch.status(ctx), time.Now())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (c *charts) addSamples(st manager.Status, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.servers
	c.servers = make(map[string]*series, len(st.Servers))
	for _, s := range st.Servers {
		one := old[s.Name]
		if one == nil {
			one = &series{hour: now.Unix() / 3600, first: true}
		}
		c.servers[s.Name] = one
		var count uint64 // since the server started
		if s.Relay != nil {
			count = s.Relay.Posts.Stored + s.Relay.Posts.FromPeers
		}
		one.addSample(count, now.Unix()/3600)
	}
}

// addSample adds what came since the last sample to an hour. A server that counts from 0
// again has been started anew.
func (s *series) addSample(count uint64, hour int64) {
	for ; s.hour < hour; s.hour++ {
		copy(s.hours[:], s.hours[1:])
		s.hours[chartHours-1] = 0
		if hour-s.hour > 2*chartHours { // a clock that was set
			s.hour = hour - chartHours
		}
	}
	came := count
	if count >= s.last {
		came = count - s.last
	}
	if !s.first {
		s.hours[chartHours-1] += came
	}
	s.last, s.first = count, false
}

// chart is a small drawing of one series.
type chart struct {
	Path string // of an SVG, 120 wide and 32 high; empty if nothing came
	Most string // the highest column in words: "40 messages"
	Text string // all of it in words
}

func (c *charts) chart(name string) chart {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.servers[name]
	if s == nil {
		return chart{Text: "No messages in the last 24 hours"}
	}
	var most, sum uint64
	for _, n := range s.hours {
		most, sum = max(most, n), sum+n
	}
	if most == 0 {
		return chart{Text: "No messages in the last 24 hours"}
	}
	var path strings.Builder
	for i, n := range s.hours {
		if n > 0 {
			height := max(2, int(30*n/most))
			fmt.Fprintf(&path, "M%d 31v-%dh3v%dz", i*5+1, height, height)
		}
	}
	text := "1 message in the last 24 hours"
	if sum > 1 {
		text = formatCount(sum) + " messages in the last 24 hours, at most " + formatCount(most) + " in an hour"
	}
	return chart{path.String(), countOf(most, "message"), text}
}
