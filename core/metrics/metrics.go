// Package metrics turns what a server counts into the snapshots of package stats, and
// feeds them to the stats plugins of the server. It is for the manager. The page
// docs/metrics.md lists every metric and is written from the same tables.
//
// # What is in a snapshot
//
// A snapshot has the sums over all clients of [relay.Status], and the state of the relay
// itself, see [RelayStatus]. Names, units and labels are fixed in this package. A snapshot
// contains no addresses, no texts of the server or of its plugins, and no time of day. The
// only other text is the name that the operator gave the server.
//
// # Names are a promise
//
// Operators build alarms on metrics. New ones may be added; an existing one keeps its
// name, its unit, its labels and its meaning.
package metrics

import (
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

// metric is a row of a table: a [stats.Metric] whose points are read from an S.
type metric[S any] struct {
	name string
	unit string
	doc  string
	kind stats.Kind
	// points reads the numbers. A metric without points is not in the snapshot.
	points func(S) []stats.Point
}

// readAll returns the metrics of a table, in the order of docs/metrics.md.
func readAll[S any](table []metric[S], from S) []stats.Metric {
	metrics := make([]stats.Metric, 0, len(table))
	for _, m := range table {
		if points := m.points(from); len(points) > 0 {
			metrics = append(metrics, stats.Metric{Name: m.name, Unit: m.unit, Doc: m.doc, Kind: m.kind, Points: points})
		}
	}
	return metrics
}

// serverTable has the metrics of one server.
var serverTable = []metric[relay.Status]{{
	name: "posts", kind: stats.Counter,
	doc: "Posts that were answered. All but stored and duplicate ones were refused.",
	points: func(st relay.Status) []stats.Point {
		p := st.Posts
		return labelledPoints("result",
			labelValue{"conflict", p.Conflict}, labelValue{"duplicate", p.Duplicate}, labelValue{"expired", p.Expired}, labelValue{"invalid_envelope", p.InvalidEnvelope}, labelValue{"invalid_token", p.InvalidToken},
			labelValue{"no_room", p.NoRoom}, labelValue{"over_budget", p.OverBudget},
			labelValue{"spent_token", p.SpentToken}, labelValue{"store_failed", p.StoreFailed}, labelValue{"stored", p.Stored}, labelValue{"timeout", p.Timeout})
	},
}, {
	name: "replicated_envelopes", kind: stats.Counter,
	doc:    "Envelopes that were new here and came from peers, not from posts.",
	points: func(st relay.Status) []stats.Point { return singlePoint(st.Posts.FromPeers) },
}, {
	name: "budget_posts", kind: stats.Gauge,
	doc: "Posts that the server still takes of those of a day; see posts_per_hour. The metric is left out without that limit.",
	points: func(st relay.Status) []stats.Point {
		return boundedPoint(st.Budget.PostsPerHour > 0, st.Budget.PostsLeft)
	},
}, {
	name: "budget_bytes", unit: "bytes", kind: stats.Gauge,
	doc: "Bytes of messages that the server still takes of those of a day; see bytes_per_day. The metric is left out without that limit.",
	points: func(st relay.Status) []stats.Point {
		return boundedPoint(st.Budget.BytesPerDay > 0, st.Budget.BytesLeft)
	},
}, {
	name: "store_appends", kind: stats.Counter,
	doc:    "Appends to the store. Each has a batch of posts.",
	points: func(st relay.Status) []stats.Point { return singlePoint(st.Posts.Batches) },
}, {
	name: "store_pages", kind: stats.Counter,
	doc:    "Pages of envelopes read from the store.",
	points: func(st relay.Status) []stats.Point { return singlePoint(st.Reads.StorePages) },
}, {
	name: "replays", kind: stats.Counter,
	doc:    "Requests of readers for all envelopes since one that they know.",
	points: func(st relay.Status) []stats.Point { return singlePoint(st.Reads.Replays) },
}, {
	name: "replayed_envelopes", kind: stats.Counter,
	doc:    "Envelopes sent in replays.",
	points: func(st relay.Status) []stats.Point { return singlePoint(st.Reads.Replayed) },
}, {
	name: "token_purchases", kind: stats.Counter,
	doc: "Purchases of write tokens. Broken off: not paid, or not completed in time. Refused: paid, but waited too long for the signatures; this happens only to purchases of more than ten tokens.",
	points: func(st relay.Status) []stats.Point {
		t := st.Tokens
		return labelledPoints("result",
			labelValue{"broken_off", t.Failed - t.Refused}, labelValue{"completed", t.Purchases}, labelValue{"refused", t.Refused})
	},
}, {
	name: "tokens_sold", kind: stats.Counter,
	doc:    "Write tokens signed.",
	points: func(st relay.Status) []stats.Point { return singlePoint(st.Tokens.Sold) },
}, {
	name: "connections_open", kind: stats.Gauge,
	doc: "Open connections to each of the two onion services.",
	points: func(st relay.Status) []stats.Point {
		return servicePoints(st, func(c relay.ConnectionCounts) uint64 { return uint64(max(0, c.Open)) })
	},
}, {
	name: "connections_accepted", kind: stats.Counter,
	doc: "Accepted connections.",
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
	doc: "Connections that were closed to make room for newer ones. Their clients had not asked for anything yet, or not for the longest time.",
	points: func(st relay.Status) []stats.Point {
		return servicePoints(st, func(c relay.ConnectionCounts) uint64 { return c.Evicted })
	},
}, {
	name: "connections_abandoned", kind: stats.Counter,
	doc: "Connections that their clients closed before the relay accepted them.",
	points: func(st relay.Status) []stats.Point {
		return servicePoints(st, func(c relay.ConnectionCounts) uint64 { return c.Abandoned })
	},
}, {
	name: "accept_errors", kind: stats.Counter,
	doc: "Failed attempts to accept a connection. Most likely, file descriptors ran out.",
	points: func(st relay.Status) []stats.Point {
		return servicePoints(st, func(c relay.ConnectionCounts) uint64 { return c.AcceptErrors })
	},
}, {
	name: "connections_ended", kind: stats.Counter,
	doc: "Connections that the relay closed. The client did not authenticate, broke the protocol (malformed), was idle, or did not read (stuck). Or the store was too slow for a reader, or unavailable (unserved). Or the relay has a defect: please report it.",
	points: func(st relay.Status) []stats.Point {
		b := st.BoardConnections
		return labelledPoints("reason",
			labelValue{"defect", b.Panics + st.TokenConnections.Panics}, labelValue{"idle", b.Idle}, labelValue{"malformed", b.Malformed},
			labelValue{"stuck", b.Stuck}, labelValue{"unauthenticated", b.Unauthenticated}, labelValue{"unserved", b.Unserved})
	},
}, {
	name: "stored_envelopes", kind: stats.Gauge,
	doc: "Envelopes in the store. While the store does not answer, this metric and the next three are left out.",
	points: func(st relay.Status) []stats.Point {
		return storedPoints(st, func(s *relay.StoreStatus) uint64 { return s.Envelopes })
	},
}, {
	name: "stored_bytes", unit: "bytes", kind: stats.Gauge,
	doc: "Size of the store.",
	points: func(st relay.Status) []stats.Point {
		return storedPoints(st, func(s *relay.StoreStatus) uint64 { return s.Bytes })
	},
}, {
	name: "stored_in_use_bytes", unit: "bytes", kind: stats.Gauge,
	doc: "How much of the size of the store is not free for reuse; 0 if the store cannot tell.",
	points: func(st relay.Status) []stats.Point {
		return storedPoints(st, func(s *relay.StoreStatus) uint64 { return s.InUse })
	},
}, {
	name: "stored_floor_age_seconds", unit: "seconds", kind: stats.Gauge,
	doc: "Age of the hour before which the store keeps nothing, in whole hours. Absent while the store has removed nothing.",
	points: func(st relay.Status) []stats.Point {
		if st.Store == nil || st.Store.Floor == nil {
			return nil
		}
		return singlePoint(uint64(max(0, time.Now().Unix()/3600-st.Store.Floor.Unix()/3600)) * 3600)
	},
}, {
	name: "stored_spent_tokens", kind: stats.Gauge,
	doc: "Spent tokens in the store.",
	points: func(st relay.Status) []stats.Point {
		return storedPoints(st, func(s *relay.StoreStatus) uint64 { return s.Tokens })
	},
}, {
	name: "board_serving", kind: stats.Gauge,
	doc: "1 while the board serves; 0 once it refuses to, because the content of the store cannot be trusted.",
	points: func(st relay.Status) []stats.Point {
		if st.Problem != "" {
			return singlePoint(0)
		}
		return singlePoint(1)
	},
}}

// labelValue is one value of a label, with the number that belongs to it.
type labelValue struct {
	value string
	n     uint64
}

func singlePoint(n uint64) []stats.Point { return []stats.Point{{Value: float64(n)}} }

// boundedPoint is singlePoint, or nothing if there is no bound.
func boundedPoint(bounded bool, n uint64) []stats.Point {
	if !bounded {
		return nil
	}
	return singlePoint(n)
}

func labelledPoints(label string, numbers ...labelValue) []stats.Point {
	points := make([]stats.Point, len(numbers))
	for i, n := range numbers {
		points[i] = stats.Point{Labels: []stats.Label{{Name: label, Value: n.value}}, Value: float64(n.n)}
	}
	return points
}

func servicePoints(st relay.Status, of func(relay.ConnectionCounts) uint64) []stats.Point {
	return labelledPoints("service", labelValue{"board", of(st.BoardConnections)}, labelValue{"token", of(st.TokenConnections)})
}

func storedPoints(st relay.Status, of func(*relay.StoreStatus) uint64) []stats.Point {
	if st.Store == nil {
		return nil
	}
	return singlePoint(of(st.Store))
}
