package limits

import (
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// Retention says how much one server keeps. A zero limit of the first four limits nothing.
// Package retention in core does the work.
type Retention struct {
	MaxAge   time.Duration // rounded up to whole hours
	MinAge   time.Duration // what is younger is not removed for MaxBytes or MaxCount
	MaxBytes uint64        // of signatures and ciphertexts
	MaxCount uint64        // of envelopes
	// KeepFree is how many bytes of the file system posts leave free. If it is 0, these are
	// 1 GiB or a tenth of the file system, whichever is less.
	KeepFree uint64
	// Written reports whether the configuration has the block. Defaults that nobody has
	// written remove nothing of a server that is older than them.
	Written bool
}

// RetentionSchema describes a retention as a block of the configuration. The defaults keep a home
// server alive for years. They are the same for a group of friends, who post some MiB a
// month and only ever meet max_age, and for a busy server, which must not fill the disk of
// a laptop: with its tokens and free pages, a store of 2 GiB takes some 3 GiB. A year is
// longer than anybody is away, and what is not kept cannot be seized. A million envelopes
// is what the figures in docs/performance.md were measured with. An attacker who fills
// the server removes what is older than a month at most, and clients that were online in
// that month have it.
func RetentionSchema() plugin.Schema {
	const day = int64(24 * time.Hour)
	return plugin.Schema{Attributes: []plugin.Attribute{{
		Name: "max_age", Type: plugin.Duration, Default: "365d", Min: new(day), Max: new(36500 * day),
		Doc: "How long messages stay. A clock that jumps ahead deletes nothing at once: if it is suddenly more than a day ahead, the relay waits until it has run for a day, and the status says so.",
	}, {
		Name: "max_bytes", Type: plugin.Bytes, Default: "2GiB", Min: new(int64(16 << 20)), Max: new(int64(1 << 50)),
		Doc: "How large all messages together get. Above it, the oldest go until nine tenths are left. The files of the store are up to a third larger, and spent tokens come on top.",
	}, {
		Name: "max_count", Type: plugin.Int, Default: "1000000", Min: new(int64(1000)), Max: new(int64(1_000_000_000_000)),
		Doc: "How many messages there are. Above it, the oldest go until nine tenths are left.",
	}, {
		Name: "min_age", Type: plugin.Duration, Default: "30d", Min: new(day), Max: new(36500 * day),
		Doc: "How long messages stay however large the server gets, so that nobody can push out everything by filling it. While younger messages alone exceed max_bytes or max_count, posts are refused, and the status says so. If max_age is shorter, that is the default.",
	}, {
		Name: "keep_free", Type: plugin.Bytes, Min: new(int64(1 << 20)), Max: new(int64(1 << 50)),
		Doc: "Room on the disk of the store that posts leave free, for tor, the system and the work of the store. If it is left out, that is 1 GiB, or a tenth of the disk if that is less. With less room, posts are refused and reads go on. The log and the status say what has filled the disk.",
	}}}
}

// ChangedRetention names the options in which two retentions differ, in the order of the schema.
func ChangedRetention(a, b Retention) (names []string) {
	for _, o := range []struct {
		name   string
		differ bool
	}{{"max_age", a.MaxAge != b.MaxAge}, {"max_bytes", a.MaxBytes != b.MaxBytes}, {"max_count", a.MaxCount != b.MaxCount}, {"min_age", a.MinAge != b.MinAge}, {"keep_free", a.KeepFree != b.KeepFree}} {
		if o.differ {
			names = append(names, o.name)
		}
	}
	return names
}
