package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"

	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
)

// row is one figure of the report.
type row struct {
	Name   string `json:"name"`
	Text   string `json:"text"`
	Unit   string `json:"unit"`
	Target target `json:"target,omitzero"`

	Rounds []float64 `json:"rounds"`
	Median float64   `json:"median"`
	Met    *bool     `json:"met,omitempty"` // where there is a target: whether the median meets it
}

// target is what a figure should be.
type target struct {
	AtLeast float64 `json:"at_least,omitzero"`
	AtMost  float64 `json:"at_most,omitzero"`
}

func atLeast(v float64) target { return target{AtLeast: v} }
func atMost(v float64) target  { return target{AtMost: v} }

func (t target) isMet(v float64) bool {
	return (t.AtLeast == 0 || v >= t.AtLeast) && (t.AtMost == 0 || v <= t.AtMost)
}

func (t target) String() string {
	switch {
	case t.AtLeast != 0:
		return "≥ " + formatNumber(t.AtLeast)
	case t.AtMost != 0:
		return "≤ " + formatNumber(t.AtMost)
	}
	return ""
}

// group is a headline and the rows under it.
type group struct {
	title string
	rows  []*row
}

// sheet collects figures, round by round. Its groups say what is measured; a figure that
// is in none of them is a mistake of the program.
type sheet struct {
	groups      []group
	now         map[string]float64 // of this round
	partial     bool               // not everything is measured: such rows are left out
	hasVerdicts bool               // the targets are for what is measured
	notes       []string
}

func newSheet(p plan) *sheet {
	return &sheet{now: map[string]float64{}, partial: p.Only != nil, hasVerdicts: p.Storage == judgedStorage, groups: append([]group{
		{"limits of the machine, without a relay", []*row{
			{Name: "verify", Text: "verify the token of a post", Unit: "µs CPU"},
			{Name: "seal", Text: "seal a packet of 8 KiB", Unit: "µs CPU"},
			{Name: "bbolt.1", Text: "bare bbolt, one record in a commit", Unit: "/s"},
			{Name: "bbolt.64", Text: "bare bbolt, 64 records in a commit", Unit: "/s"},
		}},
		{"acknowledged posts", []*row{
			{Name: "posts.1.rate", Text: "1 client", Unit: "/s"},
			{Name: "posts.1.p50", Text: "1 client, p50", Unit: "ms"},
			{Name: "posts.1.p99", Text: "1 client, p99", Unit: "ms"},
			{Name: "posts.1.cpu", Text: "1 client, relay + plugin for a post", Unit: "µs CPU"},
			{Name: "posts.ratio.bbolt", Text: "1 client / bare bbolt, one record", Unit: "×", Target: atLeast(0.45)},
			{Name: "posts.16.rate", Text: "16 clients", Unit: "/s"},
			{Name: "posts.16.p50", Text: "16 clients, p50", Unit: "ms"},
			{Name: "posts.16.p99", Text: "16 clients, p99", Unit: "ms"},
			{Name: "posts.16.cpu", Text: "16 clients, relay + plugin for a post", Unit: "µs CPU"},
			{Name: "posts.64.rate", Text: "64 clients", Unit: "/s", Target: atLeast(6500)},
			{Name: "posts.64.p50", Text: "64 clients, p50", Unit: "ms", Target: atMost(12)},
			{Name: "posts.64.p99", Text: "64 clients, p99", Unit: "ms", Target: atMost(35)},
			{Name: "posts.64.cpu", Text: "64 clients, relay + plugin for a post", Unit: "µs CPU"},
			{Name: "posts.ratio.verify", Text: "64 clients, that / one verification", Unit: "×", Target: atMost(6)},
		}},
		{"the large store", []*row{
			{Name: "posts.many.rate", Text: "posts, 64 clients", Unit: "/s"},
			{Name: "posts.many.cpu", Text: "relay + plugin for a post", Unit: "µs CPU"},
			{Name: "posts.many.ratio", Text: "posts / those of the small store", Unit: "×", Target: atLeast(0.8)},
			{Name: "start", Text: "start to first answer", Unit: "s", Target: atMost(2)},
			{Name: "file", Text: "file / envelopes in it", Unit: "×", Target: atMost(1.4)},
		}},
		{"replay of the large store", []*row{
			{Name: "replay.rate", Text: "1 reader", Unit: "/s"},
			{Name: "replay.cpu", Text: "relay + plugin for an envelope", Unit: "µs CPU"},
			{Name: "replay.ratio", Text: "that / one seal", Unit: "×", Target: atMost(2.5)},
			{Name: "replay.one", Text: "memory for the first reader", Unit: "MiB"},
			{Name: "replay.memory", Text: "memory for each further one", Unit: "MiB", Target: atMost(1)},
		}},
		retentionRows(p),
		{fmt.Sprintf("fan-out of one poster to %d connections", p.Subscribers), []*row{
			{Name: "fanout.p50", Text: fmt.Sprintf("%.0f posts/s, p50", 1/p.Pace.Seconds()), Unit: "ms", Target: atMost(4)},
			{Name: "fanout.p99", Text: fmt.Sprintf("%.0f posts/s, p99", 1/p.Pace.Seconds()), Unit: "ms", Target: atMost(12)},
			{Name: "fanout.rate", Text: fmt.Sprintf("closed loop, %d posts under way", p.Window), Unit: "/s", Target: atLeast(28_000)},
			{Name: "fanout.cpu", Text: "relay + plugin for a delivery", Unit: "µs CPU"},
		}},
		{"connections", []*row{
			{Name: "auth.cpu", Text: "relay for an authentication", Unit: "µs CPU"},
			{Name: "idle.memory", Text: fmt.Sprintf("resident memory of an idle one, of %d", p.IdleConnections), Unit: "KiB", Target: atMost(20)},
		}},
		{"tokens", []*row{
			{Name: "tokens.10.cpu", Text: "batches of 10, relay for a token", Unit: "µs CPU"},
			{Name: "tokens.10.rate", Text: "batches of 10, on one processor", Unit: "/s", Target: atLeast(15_000)},
			{Name: "tokens.150.cpu", Text: "batches of 150, relay for a token", Unit: "µs CPU"},
			{Name: "tokens.150.rate", Text: "batches of 150, on one processor", Unit: "/s"},
			{Name: "buy.time", Text: "average purchase of 10, client side", Unit: "s"},
			{Name: "buy.cpu", Text: "average purchase of 10, client side", Unit: "s CPU"},
		}},
	}, slices.Concat(peersRows(p), []group{catchUpRows(p), hostingRows(p)}, storeGroups(), []group{idleRows(p)})...)}
}

// leaveOut takes a group out of the table, and notes why.
func (s *sheet) leaveOut(title string, why error) {
	s.groups = slices.DeleteFunc(s.groups, func(g group) bool { return g.title == title })
	if note := fmt.Sprintf("left out: %s: %v", title, why); !slices.Contains(s.notes, note) {
		s.notes = append(s.notes, note)
	}
}

// eachRow visits all rows in the order of the table.
func (s *sheet) eachRow(visit func(*row)) {
	for _, g := range s.groups {
		for _, r := range g.rows {
			visit(r)
		}
	}
}

// setFigure notes a figure of this round.
func (s *sheet) setFigure(name string, v float64) { s.now[name] = v }

// figure returns a figure that this round has measured already.
func (s *sheet) figure(name string) float64 {
	v, ok := s.now[name]
	if !ok {
		panic("cwtch-bench: " + name + " is not measured yet")
	}
	return v
}

// endRound takes the figures of a round into the table.
func (s *sheet) endRound() {
	s.eachRow(func(r *row) {
		if _, measured := s.now[r.Name]; !measured && s.partial {
			return
		}
		r.Rounds = append(r.Rounds, s.figure(r.Name))
		r.Median = medianOf(r.Rounds)
		if r.Target != (target{}) && s.hasVerdicts {
			r.Met = new(r.Target.isMet(r.Median))
		}
		delete(s.now, r.Name)
	})
	for name := range s.now {
		panic("cwtch-bench: " + name + " is not in the table")
	}
}

func medianOf(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// printTable writes the table for people.
func (s *sheet) printTable(w io.Writer, m *machine, p plan) error {
	fmt.Fprintf(w, "%s\n%d processors (%s), shared by relay, plugin, clients and whatever else runs\n", m.Relay, m.Processors, m.Model)
	fmt.Fprintf(w, "load average %s before, %s after, %.0f s\n", m.LoadBefore, m.LoadAfter, m.Seconds)
	fmt.Fprintf(w, "posts of %d bytes; %d and %d envelopes stored beforehand; median of %d rounds\n", p.Size, p.Few, p.Many, p.Rounds)
	if p.Storage != judgedStorage {
		fmt.Fprintf(w, "the store is %s; the targets are those of %s, and nothing is judged by them\n", p.Storage, judgedStorage)
	}
	for _, note := range s.notes {
		fmt.Fprintln(w, note)
	}
	if m.InMemory {
		fmt.Fprintln(w, "THE DIRECTORY IS IN MEMORY: nothing here says how fast posts become durable, see -dir")
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, g := range s.groups {
		rows := slices.DeleteFunc(slices.Clone(g.rows), (*row).isEmpty)
		if len(rows) == 0 {
			continue
		}
		fmt.Fprintf(t, "\n%s\t\t\t\t\n", g.title)
		for _, r := range rows {
			fmt.Fprintf(t, "  %s\t%s %s\t%s … %s\t%s\t%s\n", r.Text, formatNumber(r.Median), r.Unit,
				formatNumber(slices.Min(r.Rounds)), formatNumber(slices.Max(r.Rounds)), r.Target, r.verdictText())
		}
	}
	return t.Flush()
}

func (r *row) isEmpty() bool { return len(r.Rounds) == 0 }

func (r *row) verdictText() string {
	switch {
	case r.Met == nil:
		return ""
	case *r.Met:
		return "met"
	}
	return "NOT MET"
}

// formatNumber has three digits, or all of a large number.
func formatNumber(v float64) string {
	switch {
	case v >= 100 || v <= -100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10 || v <= -10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// writeJSON writes everything for programs.
func (s *sheet) writeJSON(path string, m *machine, p plan) error {
	out := struct {
		Machine *machine `json:"machine"`
		Plan    plan     `json:"plan"`
		Notes   []string `json:"notes,omitempty"`
		Rows    []*row   `json:"rows"`
	}{Machine: m, Plan: p, Notes: s.notes}
	s.eachRow(func(r *row) {
		if !r.isEmpty() {
			out.Rows = append(out.Rows, r)
		}
	})
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	if err := durable.WriteOutput(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	return nil
}
