package lab

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report has the results of all scenarios.
type Report struct {
	Scenarios []ScenarioReport `json:"scenarios"`
}

// ScenarioReport has the results of one scenario.
type ScenarioReport struct {
	Name    string   `json:"name"`
	About   string   `json:"about,omitempty"`
	World   string   `json:"world"` // in words
	Results []Result `json:"results"`
}

// Result has what one algorithm did at one point of the sweep, all seeds together.
type Result struct {
	Algorithm string `json:"algorithm"` // as the scenario names it
	Point
	FirstSeed  uint64      `json:"first_seed"`
	Seeds      int         `json:"seeds"`
	Steps      uint64      `json:"steps"`
	Violations []Violation `json:"violations,omitempty"`

	Messages int `json:"messages"` // that were written
	// Peers are delays from the first acknowledgement until 50, 95 and 100 % of the core peers have
	// a message; Members those from writing until so many of the members other than the author
	// have it.
	Peers   [3]Quantiles `json:"peers"`
	Members [3]Quantiles `json:"members"`
	// Of all pairs of a message and a member other than its author, the shares in which the
	// message arrived in time.
	WithinHour float64 `json:"within_hour"`
	WithinDay  float64 `json:"within_day"`
	Ever       float64 `json:"ever"`
	// Curve is the share that has arrived, by delay.
	Curve []CurvePoint `json:"curve"`
	// Overhead is what was sent on the links besides bodies that the receiver lacked, as a share of
	// these.
	Overhead float64 `json:"overhead"`
	Tally
}

// newReport summarizes jobs.
func newReport(cfg Config, jobs []*job) *Report {
	r := &Report{}
	for _, s := range cfg.Scenarios {
		sr := ScenarioReport{Name: s.Name, About: s.About, World: s.describe()}
		for _, p := range s.points() {
			for range s.Algorithms {
				sr.Results = append(sr.Results, newResult(p, jobs[:s.Seeds]))
				jobs = jobs[s.Seeds:]
			}
		}
		r.Scenarios = append(r.Scenarios, sr)
	}
	return r
}

// newResult summarizes the runs of one algorithm at one point.
func newResult(p Point, jobs []*job) Result {
	var m measures
	out := Result{Algorithm: jobs[0].algorithm.Label, Point: p, FirstSeed: jobs[0].seed, Seeds: len(jobs)}
	for _, j := range jobs {
		m.add(&j.measures)
		if j.violation != nil {
			out.Violations = append(out.Violations, *j.violation)
		}
	}
	out.Steps, out.Messages, out.Tally, out.Overhead = m.steps, m.sought, m.tally, m.tally.overhead()
	for i := range out.Peers {
		out.Peers[i], out.Members[i] = quantilesOf(m.peers[i], m.sought), quantilesOf(m.readers[i], m.sought)
	}
	if m.pairs > 0 {
		share := func(n int) float64 { return float64(n) / float64(m.pairs) }
		out.WithinHour, out.WithinDay, out.Ever = share(m.histogram.hour), share(m.histogram.day), share(m.histogram.n)
	}
	out.Curve = m.histogram.curve(m.pairs)
	return out
}

// describe says in words what a scenario is.
func (s *Scenario) describe() string {
	var parts []string
	for _, g := range s.Groups {
		count, trace := fmt.Sprint(g.Count), g.Trace.describe()
		if g.Name == s.Sweep.Group && len(s.Sweep.Counts) > 0 {
			count = fmt.Sprintf("%d to %d", slices.Min(s.Sweep.Counts), slices.Max(s.Sweep.Counts))
		}
		if g.Name == s.Sweep.Group && len(s.Sweep.Onlines) > 0 {
			trace = fmt.Sprintf("online %.0f to %.0f %% of the time, %s at a time", 100*slices.Min(s.Sweep.Onlines), 100*slices.Max(s.Sweep.Onlines), formatTime(cmp.Or(g.Trace.Session, defaultChurn)))
		}
		text := fmt.Sprintf("%s × %s (%s)", count, g.Name, trace)
		if len(g.Hostile) > 0 {
			text += ", hostile: " + strings.Join(g.Hostile, ", ")
		}
		parts = append(parts, text)
	}
	members := 0
	for _, m := range s.Members {
		members += m.Count
	}
	shape := map[string]string{"full": "each linked with each", "ring": "in a ring", "star": "in a star", "random": "linked at random"}[s.Topology.Shape]
	who := fmt.Sprintf("%d members write", members)
	if len(s.Sweep.Counts) > 0 && slices.ContainsFunc(s.Members, func(m MemberGroup) bool { return m.Own == s.Sweep.Group }) {
		who = "The members, one for each peer, write"
	}
	return fmt.Sprintf("Core peers: %s; %s. %s %d messages an hour for %s. Links: %s, %s a second.",
		strings.Join(parts, "; "), shape, who, s.Posts.PerHour, formatTime(s.Duration), formatTime(s.Link.Latency), formatBytes(float64(s.Link.Bandwidth)))
}

func (t Trace) describe() string {
	switch t.Kind {
	case "churn":
		return fmt.Sprintf("online %.0f %% of the time, %s at a time", 100*t.Online, formatTime(t.Session))
	case "phone":
		return fmt.Sprintf("phones, %d sessions a day of %s", t.Sessions, formatTime(t.Session))
	case "office":
		return fmt.Sprintf("office hours, %d to %d", t.From, t.To)
	case "explicit":
		return "online at given times"
	}
	return "always online"
}

// Broken returns the violations of all runs.
func (r *Report) Broken() (out []Violation) {
	for _, s := range r.Scenarios {
		for _, res := range s.Results {
			out = append(out, res.Violations...)
		}
	}
	return out
}

// WriteTable writes the results as a table for a terminal.
func (r *Report) WriteTable(w io.Writer) error {
	for _, s := range r.Scenarios {
		fmt.Fprintf(w, "%s\n", s.Name)
		if s.About != "" {
			fmt.Fprintf(w, "  %s\n", s.About)
		}
		fmt.Fprintf(w, "  %s\n\n", s.World)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "  algorithm\tpoint\tmessages\tunmet\t≤ 1 h\t≤ 1 d\tall peers p50\tp95\t95 % members p50\tp95\tbodies\tids\tmessages\tcontrol\tpadding\toverhead\tduplicates\tbroken")
		for _, res := range s.Results {
			fmt.Fprintf(t, "  %s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\n",
				res.Algorithm, res.Point.label(), res.Messages, formatShare(float64(res.Unmet)/float64(max(res.Messages, 1))),
				formatShare(res.WithinHour), formatShare(res.WithinDay),
				formatSeconds(res.Peers[2].P50), formatSeconds(res.Peers[2].P95), formatSeconds(res.Members[1].P50), formatSeconds(res.Members[1].P95),
				formatBytes(float64(res.Bodies)), formatBytes(float64(res.IDs)), formatBytes(float64(res.Tally.Messages)), formatBytes(float64(res.Control)), formatBytes(float64(res.Padding)),
				formatShare(res.Overhead), res.Duplicates, len(res.Violations))
		}
		if err := t.Flush(); err != nil {
			return err
		}
		for _, res := range s.Results {
			for _, v := range res.Violations {
				fmt.Fprintf(w, "  %s, %s: %v\n", res.Algorithm, res.Point.label(), &v)
			}
		}
		fmt.Fprintln(w)
	}
	return nil
}

// label names a point of a sweep.
func (p Point) label() string {
	var parts []string
	switch {
	case p.Count == 1:
		parts = append(parts, "1 peer")
	case p.Count > 1:
		parts = append(parts, fmt.Sprintf("%d peers", p.Count))
	}
	if p.Online > 0 {
		parts = append(parts, fmt.Sprintf("%.0f %%", 100*p.Online))
	}
	if len(parts) == 0 {
		return "–"
	}
	return strings.Join(parts, ", ")
}

// WriteFiles writes report.json, report.html and the charts of the page, as charts/NAME-N.svg, into
// a directory, which it makes.
func (r *Report) WriteFiles(dir string) error {
	charts := filepath.Join(dir, "charts")
	if err := os.MkdirAll(charts, 0o755); err != nil {
		return err
	}
	for _, s := range r.Scenarios {
		for i, f := range s.drawFigures() {
			name := fmt.Sprintf("%s-%d.svg", s.Name, i+1)
			if err := os.WriteFile(filepath.Join(charts, name), f.renderPicture(), 0o644); err != nil {
				return err
			}
		}
	}
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "report.json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "report.html"), r.renderPage(), 0o644)
}

// formatSeconds writes a delay. Less than 0 stands for never.
func formatSeconds(s float64) string {
	if s < 0 {
		return "never"
	}
	return formatTime(time.Duration(s * float64(time.Second)))
}

func formatTime(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.3g s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%.3g min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.3g h", d.Hours())
	}
	return fmt.Sprintf("%.3g d", d.Hours()/24)
}

func formatBytes(b float64) string {
	for _, unit := range []string{"B", "kB", "MB", "GB"} {
		if b < 1000 {
			return fmt.Sprintf("%.3g %s", b, unit)
		}
		b /= 1000
	}
	return fmt.Sprintf("%.3g TB", b)
}

func formatShare(s float64) string {
	switch p := 100 * s; {
	case p == 0 || p == 100:
		return fmt.Sprintf("%.0f %%", p)
	case p >= 1000:
		return fmt.Sprintf("%.0f %%", p)
	}
	return fmt.Sprintf("%.1f %%", 100*s)
}
