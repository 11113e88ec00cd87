package metrics

import (
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

// Relay is how a relay does, as far as one of its servers is concerned: the plugins
// and onion services of that server, and what all servers share.
type Relay struct {
	Plugins []supervise.Status  // of the server, as they are now
	Ended   map[plugin.Kind]int // restarts of plugins that the server has no more
	// Board and Token are published now.
	Board, Token bool

	Network  onion.Status
	Memory   int64  // of the process of the relay, in bytes
	LogLines uint64 // that were dropped
}

// row is a metric of a Relay. Those that count snapshots have the status of all
// exporters of the server.
type row struct {
	name, unit, doc string
	kind            stats.Kind
	points          func(Relay, Status) []stats.Point
}

// ofAll ends the doc of what is not of one server.
const ofAll = " The same in all servers of a relay."

var relayTable = []row{{
	name: "plugins", kind: stats.Gauge,
	doc: "Plugins of the server, by what they are doing now. Those in backoff are started again soon, failed ones not before a reload.",
	points: func(r Relay, _ Status) (points []stats.Point) {
		for _, k := range plugin.Kinds() {
			for s := supervise.Starting; s <= supervise.Stopped; s++ {
				points = append(points, stats.Point{
					Labels: []stats.Label{{Name: "kind", Value: string(k)}, {Name: "state", Value: s.String()}},
					Value:  float64(count(r.Plugins, func(p supervise.Status) int64 { return one(p.Kind == k && p.State == s) })),
				})
			}
		}
		return points
	},
}, {
	name: "plugin_restarts", kind: stats.Counter,
	doc: "Processes of its plugins that ended unasked.",
	points: func(r Relay, _ Status) []stats.Point {
		return kinds(func(k plugin.Kind) int64 {
			return int64(r.Ended[k]) + count(r.Plugins, func(p supervise.Status) int64 { return one(p.Kind == k) * int64(p.Restarts) })
		})
	},
}, {
	name: "plugin_memory_bytes", unit: "bytes", kind: stats.Gauge,
	doc: "Memory that the processes of its plugins have for themselves, in whole MiB.",
	points: func(r Relay, _ Status) []stats.Point {
		return kinds(func(k plugin.Kind) int64 {
			return whole(count(r.Plugins, func(p supervise.Status) int64 { return one(p.Kind == k) * p.Memory }))
		})
	},
}, {
	name: "snapshots", kind: stats.Counter,
	doc: "Snapshots for its stats plugins. Dropped ones were overtaken by a newer one, failed ones were refused, not answered, or came while the plugin was away.",
	points: func(_ Relay, s Status) []stats.Point {
		return labelledPoints("result", number{"dropped", s.Dropped}, number{"exported", s.Exported}, number{"failed", s.Failed})
	},
}, {
	name: "services_published", kind: stats.Gauge,
	doc: "1 where the network can find the onion service.",
	points: func(r Relay, _ Status) []stats.Point {
		return labelledPoints("service", number{"board", uint64(one(r.Board))}, number{"token", uint64(one(r.Token))})
	},
}, {
	name: "network_ready", kind: stats.Gauge,
	doc:    "1 while tor can publish and reach services." + ofAll,
	points: func(r Relay, _ Status) []stats.Point { return singlePoint(uint64(one(r.Network.State == onion.Ready))) },
}, {
	name: "network_restarts", kind: stats.Counter,
	doc:    "How often tor was started, or connected to, again." + ofAll,
	points: func(r Relay, _ Status) []stats.Point { return singlePoint(uint64(r.Network.Restarts)) },
}, {
	name: "relay_memory_bytes", unit: "bytes", kind: stats.Gauge,
	doc:    "Memory that the process of the relay has for itself, in whole MiB, without tor and plugins." + ofAll,
	points: func(r Relay, _ Status) []stats.Point { return singlePoint(uint64(whole(r.Memory))) },
}, {
	name: "log_lines_dropped", kind: stats.Counter,
	doc:    "Lines that were left out of the log because nobody took them in time." + ofAll,
	points: func(r Relay, _ Status) []stats.Point { return singlePoint(r.LogLines) },
}}

// whole rounds memory up to whole MiB: finer figures would move with single posts.
func whole(bytes int64) int64 {
	const mib = 1 << 20
	return (bytes + mib - 1) / mib * mib
}

func count(plugins []supervise.Status, of func(supervise.Status) int64) (n int64) {
	for _, p := range plugins {
		n += of(p)
	}
	return n
}

func one(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

func kinds(of func(plugin.Kind) int64) []stats.Point {
	var numbers []number
	for _, k := range plugin.Kinds() {
		numbers = append(numbers, number{string(k), uint64(of(k))})
	}
	return labelledPoints("kind", numbers...)
}

// OfRelay returns the metrics of a relay, in the order of the page.
func OfRelay(r Relay, snapshots Status) []stats.Metric {
	metrics := make([]stats.Metric, len(relayTable))
	for i, m := range relayTable {
		metrics[i] = stats.Metric{Name: m.name, Unit: m.unit, Doc: m.doc, Kind: m.kind, Points: m.points(r, snapshots)}
	}
	return metrics
}
