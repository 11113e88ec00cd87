package metrics

import (
	"github.com/cwtch-relay/cwtch-relay/core/doctor"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

// RelayStatus is the state of the relay for one of its servers: the plugins and onion
// services of that server, and what all servers share.
type RelayStatus struct {
	Plugins      []supervise.Status  // of the server
	PastRestarts map[plugin.Kind]int // of plugins that the server no longer has

	BoardPublished, TokenPublished bool
	Reachability                   doctor.Reachability // the zero value before the first attempt

	Network  onion.Status
	Memory   int64  // of the process of the relay, in bytes
	LogLines uint64 // that were dropped
}

// relayFigures is what the metrics of a relay are read from.
type relayFigures struct {
	RelayStatus
	snapshots Status // of all exporters of the server
}

// sameInAllServers ends the doc of a metric that does not belong to one server.
const sameInAllServers = " All servers of a relay have the same value."

// relayTable has the metrics of the relay.
var relayTable = []metric[relayFigures]{{
	name: "plugins", kind: stats.Gauge,
	doc: "Plugins of the server, by their state. The relay starts a plugin in backoff again soon, and a failed one only after a reload.",
	points: func(r relayFigures) (points []stats.Point) {
		for _, k := range plugin.Kinds() {
			for s := supervise.Starting; s <= supervise.Stopped; s++ {
				points = append(points, stats.Point{
					Labels: []stats.Label{{Name: "kind", Value: string(k)}, {Name: "state", Value: s.String()}},
					Value:  float64(sumPlugins(r.Plugins, func(p supervise.Status) int64 { return oneIf(p.Kind == k && p.State == s) })),
				})
			}
		}
		return points
	},
}, {
	name: "plugin_restarts", kind: stats.Counter,
	doc: "Unplanned ends of the server's plugin processes.",
	points: func(r relayFigures) []stats.Point {
		return pointsByKind(func(k plugin.Kind) int64 {
			return int64(r.PastRestarts[k]) + sumPlugins(r.Plugins, func(p supervise.Status) int64 { return oneIf(p.Kind == k) * int64(p.Restarts) })
		})
	},
}, {
	name: "plugin_memory_bytes", unit: "bytes", kind: stats.Gauge,
	doc: "Private memory of the server's plugin processes, in whole MiB.",
	points: func(r relayFigures) []stats.Point {
		return pointsByKind(func(k plugin.Kind) int64 {
			return roundUpToMiB(sumPlugins(r.Plugins, func(p supervise.Status) int64 { return oneIf(p.Kind == k) * p.Memory }))
		})
	},
}, {
	name: "snapshots", kind: stats.Counter,
	doc: "Snapshots for the server's stats plugins. Dropped: replaced by a newer one before the plugin was ready. Failed: refused, not answered, or taken while the plugin was unavailable.",
	points: func(r relayFigures) []stats.Point {
		return labelledPoints("result", labelValue{"dropped", r.snapshots.Dropped}, labelValue{"exported", r.snapshots.Exported}, labelValue{"failed", r.snapshots.Failed})
	},
}, {
	name: "services_published", kind: stats.Gauge,
	doc: "1 while the network can find the onion service.",
	points: func(r relayFigures) []stats.Point {
		return labelledPoints("service", labelValue{"board", uint64(oneIf(r.BoardPublished))}, labelValue{"token", uint64(oneIf(r.TokenPublished))})
	},
}, {
	name: "reach_failures", kind: stats.Gauge,
	doc: "Attempts of the relay, the last ones in a row, that did not reach the onion service from outside or could not use it; 0 before the first. The relay tries every half hour.",
	points: func(r relayFigures) []stats.Point {
		return labelledPoints("service", labelValue{"board", uint64(r.Reachability.BoardFailures)}, labelValue{"token", uint64(r.Reachability.TokenFailures)})
	},
}, {
	name: "services_republished", kind: stats.Counter,
	doc: "How often the relay published the onion service anew because it could not reach it.",
	points: func(r relayFigures) []stats.Point {
		return labelledPoints("service", labelValue{"board", uint64(r.Reachability.BoardRepublished)}, labelValue{"token", uint64(r.Reachability.TokenRepublished)})
	},
}, {
	name: "network_ready", kind: stats.Gauge,
	doc:    "1 while tor can publish and reach services." + sameInAllServers,
	points: func(r relayFigures) []stats.Point { return singlePoint(uint64(oneIf(r.Network.State == onion.Ready))) },
}, {
	name: "network_restarts", kind: stats.Counter,
	doc:    "Restarts of tor, and new connections to it." + sameInAllServers,
	points: func(r relayFigures) []stats.Point { return singlePoint(uint64(r.Network.Restarts)) },
}, {
	name: "relay_memory_bytes", unit: "bytes", kind: stats.Gauge,
	doc:    "Private memory of the process of the relay, in whole MiB, without tor and plugins." + sameInAllServers,
	points: func(r relayFigures) []stats.Point { return singlePoint(uint64(roundUpToMiB(r.Memory))) },
}, {
	name: "log_lines_dropped", kind: stats.Counter,
	doc:    "Lines that are missing in the log because nothing read them in time." + sameInAllServers,
	points: func(r relayFigures) []stats.Point { return singlePoint(r.LogLines) },
}}

// roundUpToMiB hides the effect of single posts on memory.
func roundUpToMiB(bytes int64) int64 {
	const mib = 1 << 20
	return (bytes + mib - 1) / mib * mib
}

func sumPlugins(plugins []supervise.Status, of func(supervise.Status) int64) (n int64) {
	for _, p := range plugins {
		n += of(p)
	}
	return n
}

func oneIf(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

func pointsByKind(of func(plugin.Kind) int64) []stats.Point {
	var numbers []labelValue
	for _, k := range plugin.Kinds() {
		numbers = append(numbers, labelValue{string(k), uint64(of(k))})
	}
	return labelledPoints("kind", numbers...)
}
