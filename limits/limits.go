// Package limits says what strangers can make one server do, and how much it keeps: the limits with
// their defaults, their bounds and their documentation. Package config reads them
// and writes the manual from [Table], package relay keeps them.
package limits

import (
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// Limits bounds what clients may cost one server. All but PostsPerHour and BytesPerDay must
// be positive. The zero value is of no use; package config fills in the defaults, and
// package manager those two, which depend on the retention of the server.
type Limits struct {
	Connections           int           // open at a time, for each onion service
	ConnectionsPerSecond  int           // authenticated by the board
	HandshakeTimeout      time.Duration // each step of an authentication or a purchase
	IdleTimeout           time.Duration // without a packet in either direction
	OutstandingPosts      int           // unanswered, for each connection
	QueueRecords          int           // posts of all connections that wait for the store
	QueueBytes            int64         // memory they hold
	PostTimeout           time.Duration // wait for the budget, for the queue, and for the store, each
	PostsPerHour          int           // of all connections, as the mean of a day; 0 is no bound
	BytesPerDay           int64         // of signatures and ciphertexts; 0 is no bound
	TokenBatchesPerSecond int           // of TokenBatch tokens, or more of fewer
	TokenBatch            int           // tokens for one proof of work
	ReaderBuffer          int64         // bytes of envelopes held for a reader
	StuckReader           time.Duration // without progress of a write
}

// Limit describes one limit: its option in the configuration, and its field of [Limits].
type Limit struct {
	plugin.Attribute
	get func(*Limits) int64
	set func(*Limits, int64)
}

// Set sets the limit; durations are in nanoseconds, sizes in bytes.
func (l Limit) Set(all *Limits, value int64) { l.set(all, value) }

// Table has every limit. Names and defaults are a promise to operators.
var Table = []Limit{
	limit(plugin.Int, "connections", "4096", 1, 1<<16, func(l *Limits) *int { return &l.Connections },
		"Open connections, at each of the two onion services of a server. At the limit, a new connection replaces the oldest one whose client has not asked for anything yet. If these are less than a quarter of all, it replaces the one whose client has not asked for anything for the longest time. The token service has no more connections than it can serve within 10 s, if each buys 10 tokens; it closes a new one if all others have paid."),
	limit(plugin.Int, "connections_per_second", "500", 1, 100_000, func(l *Limits) *int { return &l.ConnectionsPerSecond },
		"Clients that the board authenticates in a second; each takes some 0.6 ms of a processor. Above the limit 256 clients may wait, the newest is served first, and a client that waits longer than 5 s is closed. Connections on which no keys have arrived do not count."),
	limit(plugin.Duration, "handshake_timeout", "30s", time.Second, 10*time.Minute, func(l *Limits) *time.Duration { return &l.HandshakeTimeout },
		"Time for each step of an authentication or a purchase. A client that takes longer is closed."),
	limit(plugin.Duration, "idle_timeout", "2h", time.Minute, 7*24*time.Hour, func(l *Limits) *time.Duration { return &l.IdleTimeout },
		"Time without a packet in either direction after which a connection is closed. A client that has not asked for anything yet gets 2m at most."),
	limit(plugin.Int, "outstanding_posts", "64", 1, 4096, func(l *Limits) *int { return &l.OutstandingPosts },
		"Posts of one connection that wait for their result. At the limit, the relay reads nothing more from that connection until a post is answered."),
	limit(plugin.Int, "queue_records", "8192", 256, 1<<20, func(l *Limits) *int { return &l.QueueRecords },
		"Posts of all connections that wait to be stored. A post that finds no room within post_timeout is refused."),
	limit(plugin.Bytes, "queue_bytes", "64MiB", 1<<20, 16<<30, func(l *Limits) *int64 { return &l.QueueBytes },
		"Memory of the posts that wait to be stored. A post that finds no room within post_timeout is refused."),
	limit(plugin.Duration, "post_timeout", "10s", 100*time.Millisecond, 10*time.Minute, func(l *Limits) *time.Duration { return &l.PostTimeout },
		"Time that a post waits for the budget of the server, again for room in the queue, and again for the storage plugin. A post that would wait longer is refused; its author may try again."),
	limit(plugin.Int, "posts_per_hour", "", 60, 1_000_000_000, func(l *Limits) *int { return &l.PostsPerHour },
		"Posts that a server takes in an hour, as the mean of a day: the posts of a whole day may come at once. If more come, the connections that post most are refused, and the others share what is left. A refused post does not spend its token. If it is left out, it is nine tenths of what fits into max_count of the retention within min_age and a day, 1209 with the defaults, so that nobody can fill the server with young messages."),
	limit(plugin.Bytes, "bytes_per_day", "", 4<<20, 1<<50, func(l *Limits) *int64 { return &l.BytesPerDay },
		"Bytes of messages that a server takes in a day; otherwise like posts_per_hour. If it is left out, it is nine tenths of what fits into max_bytes of the retention within min_age and a day, 59 MiB with the defaults."),
	limit(plugin.Int, "token_batches_per_second", "10", 1, 100_000, func(l *Limits) *int { return &l.TokenBatchesPerSecond },
		"Full batches of tokens signed in a second. The relay counts tokens: it signs this number times token_batch in a second, in more batches if they are smaller. Above the limit purchases wait, and those of up to 10 tokens go before larger ones. Tokens can be kept, so it is posts_per_hour and bytes_per_day that bound how fast strangers fill the disk."),
	limit(plugin.Int, "token_batch", "150", 1, 150, func(l *Limits) *int { return &l.TokenBatch },
		"Tokens signed in one purchase. A client that asks for more is closed; clients usually ask for 10."),
	limit(plugin.Bytes, "reader_buffer", "256KiB", 16<<10, 64<<20, func(l *Limits) *int64 { return &l.ReaderBuffer },
		"Memory for the envelopes on their way to one reader. At the limit, the relay waits for the reader and then goes on from storage where it stopped."),
	limit(plugin.Duration, "stuck_reader", "5m", time.Second, 24*time.Hour, func(l *Limits) *time.Duration { return &l.StuckReader },
		"Time after which a reader that accepts no data is closed."),
}

func limit[T ~int | ~int64](t plugin.Type, name, defaultText string, lowest, highest T, field func(*Limits) *T, doc string) Limit {
	return Limit{
		Attribute: plugin.Attribute{Name: name, Type: t, Default: defaultText, Min: new(int64(lowest)), Max: new(int64(highest)), Doc: doc},
		get:       func(l *Limits) int64 { return int64(*field(l)) },
		set:       func(l *Limits, value int64) { *field(l) = T(value) },
	}
}

// Schema describes the limits as a block of the configuration.
func Schema() (s plugin.Schema) {
	for _, l := range Table {
		s.Attributes = append(s.Attributes, l.Attribute)
	}
	return s
}

// Changed names the limits in which a and b differ, in the order of the table.
func Changed(a, b Limits) (names []string) {
	for _, l := range Table {
		if l.get(&a) != l.get(&b) {
			names = append(names, l.Name)
		}
	}
	return names
}

// Live reports whether a running server can go over to other limits. The limits of
// the queue belong to the board, which keeps what it was opened with.
func (l Limits) Live(next Limits) bool {
	return l.QueueRecords == next.QueueRecords && l.QueueBytes == next.QueueBytes && l.PostTimeout == next.PostTimeout
}
