// Package metrics turns what a server counts into the snapshots of package
// stats, and feeds them to the stats plugins of the server. It is for the
// manager, and for the page docs/metrics.md, which lists every number and is
// written from the same table.
//
// # What is in a snapshot
//
// Sums over all clients that [relay.Status] has, and how the relay itself does, as
// [Relay] has it, under names, units and labels that are fixed in this package.
// Nothing else gets in: no addresses or texts of the server or of its plugins, and
// no time of day. The name that the operator gave the server stands beside the numbers.
//
// # Names are a promise
//
// Operators build alarms on them. A metric may be added; one that is there
// keeps its name, its unit, its labels and what it counts.
package metrics

import (
	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

// metric is a row of the table: a [stats.Metric] whose points are yet to come.
type metric struct {
	name string
	unit string
	doc  string
	kind stats.Kind
	// points reads the numbers; without any the metric is left out of the
	// snapshot.
	points func(relay.Status) []stats.Point
}

var table = []metric{{
	name: "posts", kind: stats.Counter,
	doc: "Posts that were answered. Those with any result but stored and duplicate were refused.",
	points: func(st relay.Status) []stats.Point {
		p := st.Posts
		return labelledPoints("result",
			number{"conflict", p.Conflict}, number{"duplicate", p.Duplicate}, number{"invalid_envelope", p.InvalidEnvelope}, number{"invalid_token", p.InvalidToken},
			number{"spent_token", p.SpentToken}, number{"store_failed", p.StoreFailed}, number{"stored", p.Stored}, number{"timeout", p.Timeout})
	},
}, {
	name: "store_appends", kind: stats.Counter,
	doc:    "Appends to the store, each of a batch of posts.",
	points: func(st relay.Status) []stats.Point { return singlePoint(st.Posts.Batches) },
}, {
	name: "store_pages", kind: stats.Counter,
	doc:    "Pages of envelopes read from the store.",
	points: func(st relay.Status) []stats.Point { return singlePoint(st.Reads.StorePages) },
}, {
	name: "replays", kind: stats.Counter,
	doc:    "Requests of readers for the envelopes since one they know.",
	points: func(st relay.Status) []stats.Point { return singlePoint(st.Reads.Replays) },
}, {
	name: "replayed_envelopes", kind: stats.Counter,
	doc:    "Envelopes sent in answer to them.",
	points: func(st relay.Status) []stats.Point { return singlePoint(st.Reads.Replayed) },
}, {
	name: "token_purchases", kind: stats.Counter,
	doc: "Purchases of write tokens. Broken off ones were not paid, or not completed in time; refused ones were paid and waited for their signatures too long, which only purchases of more than ten tokens do.",
	points: func(st relay.Status) []stats.Point {
		t := st.Tokens
		return labelledPoints("result",
			number{"broken_off", t.Failed - t.Refused}, number{"completed", t.Purchases}, number{"refused", t.Refused})
	},
}, {
	name: "tokens_sold", kind: stats.Counter,
	doc:    "Write tokens signed.",
	points: func(st relay.Status) []stats.Point { return singlePoint(st.Tokens.Sold) },
}, {
	name: "connections_open", kind: stats.Gauge,
	doc: "Connections that are open now, to each of the two onion services.",
	points: func(st relay.Status) []stats.Point {
		return servicePoints(st, func(c relay.ConnectionCounts) uint64 { return uint64(max(0, c.Open)) })
	},
}, {
	name: "connections_accepted", kind: stats.Counter,
	doc: "Connections that were let in.",
	points: func(st relay.Status) []stats.Point {
		return servicePoints(st, func(c relay.ConnectionCounts) uint64 { return c.Accepted })
	},
}, {
	name: "connections_refused", kind: stats.Counter,
	doc: "Connections that were closed because too many were open, or too many waited for their handshake.",
	points: func(st relay.Status) []stats.Point {
		return servicePoints(st, func(c relay.ConnectionCounts) uint64 { return c.Refused })
	},
}, {
	name: "connections_delayed", kind: stats.Counter,
	doc: "Connections that had to wait for their handshake, or for the signatures of a purchase, because too many came in a second.",
	points: func(st relay.Status) []stats.Point {
		return servicePoints(st, func(c relay.ConnectionCounts) uint64 { return c.Delayed })
	},
}, {
	name: "connections_evicted", kind: stats.Counter,
	doc: "Connections that were closed because a newer one needed the place and their clients had not asked for anything yet, or not for the longest time.",
	points: func(st relay.Status) []stats.Point {
		return servicePoints(st, func(c relay.ConnectionCounts) uint64 { return c.Evicted })
	},
}, {
	name: "connections_abandoned", kind: stats.Counter,
	doc: "Connections that their clients had closed before the relay took them up.",
	points: func(st relay.Status) []stats.Point {
		return servicePoints(st, func(c relay.ConnectionCounts) uint64 { return c.Abandoned })
	},
}, {
	name: "accept_errors", kind: stats.Counter,
	doc: "Times that the system gave no connection, most likely for want of file descriptors.",
	points: func(st relay.Status) []stats.Point {
		return servicePoints(st, func(c relay.ConnectionCounts) uint64 { return c.AcceptErrors })
	},
}, {
	name: "connections_ended", kind: stats.Counter,
	doc: "Connections that the relay closed: a client that did not authenticate, broke the protocol, was idle or did not read; a store that was too slow for a reader, or away; or, which should be reported, a defect of the relay.",
	points: func(st relay.Status) []stats.Point {
		b := st.BoardConnections
		return labelledPoints("reason",
			number{"defect", b.Panics + st.TokenConnections.Panics}, number{"idle", b.Idle}, number{"malformed", b.Malformed},
			number{"stuck", b.Stuck}, number{"unauthenticated", b.Unauthenticated}, number{"unserved", b.Unserved})
	},
}, {
	name: "stored_envelopes", kind: stats.Gauge,
	doc: "Envelopes in the store. Left out, as are the next two, while the store does not answer.",
	points: func(st relay.Status) []stats.Point {
		return storedPoints(st, func(s *relay.StoreStatus) uint64 { return s.Envelopes })
	},
}, {
	name: "stored_bytes", unit: "bytes", kind: stats.Gauge,
	doc: "Room that the store takes.",
	points: func(st relay.Status) []stats.Point {
		return storedPoints(st, func(s *relay.StoreStatus) uint64 { return s.Bytes })
	},
}, {
	name: "stored_spent_tokens", kind: stats.Gauge,
	doc: "Spent tokens in the store.",
	points: func(st relay.Status) []stats.Point {
		return storedPoints(st, func(s *relay.StoreStatus) uint64 { return s.Tokens })
	},
}, {
	name: "board_serving", kind: stats.Gauge,
	doc: "1 while the board serves; 0 once it has refused to, because what the store holds cannot be trusted.",
	points: func(st relay.Status) []stats.Point {
		if st.Problem != "" {
			return singlePoint(0)
		}
		return singlePoint(1)
	},
}}

// number is the number of one value of a label.
type number struct {
	value string
	n     uint64
}

func singlePoint(n uint64) []stats.Point { return []stats.Point{{Value: float64(n)}} }

func labelledPoints(label string, numbers ...number) []stats.Point {
	points := make([]stats.Point, len(numbers))
	for i, n := range numbers {
		points[i] = stats.Point{Labels: []stats.Label{{Name: label, Value: n.value}}, Value: float64(n.n)}
	}
	return points
}

func servicePoints(st relay.Status, of func(relay.ConnectionCounts) uint64) []stats.Point {
	return labelledPoints("service", number{"board", of(st.BoardConnections)}, number{"token", of(st.TokenConnections)})
}

func storedPoints(st relay.Status, of func(*relay.StoreStatus) uint64) []stats.Point {
	if st.Store == nil {
		return nil
	}
	return singlePoint(of(st.Store))
}

// Of returns the metrics of a server, in the order of the page.
func Of(st relay.Status) []stats.Metric {
	metrics := make([]stats.Metric, 0, len(table))
	for _, m := range table {
		if points := m.points(st); len(points) > 0 {
			metrics = append(metrics, stats.Metric{Name: m.name, Unit: m.unit, Doc: m.doc, Kind: m.kind, Points: points})
		}
	}
	return metrics
}
