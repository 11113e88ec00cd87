package lab

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cwtch-relay/cwtch-relay/config" //nolint:depguard // scenarios are files, with the errors of the configuration
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// Scenario is what one file describes: a world, what happens in it, and what is compared.
type Scenario struct {
	Name       string // of the file, without its suffix
	About      string
	Duration   time.Duration // in which members post
	Settle     time.Duration // what the messages have to arrive after that
	Algorithms []string
	Seeds      int
	FirstSeed  uint64
	Heal       bool // at the end, everybody is online and all have to become equal
	// MaxOverhead bounds what the first algorithm may send besides bodies that the receiver
	// lacked, in percent of these bodies; 0: no bound.
	MaxOverhead int

	Topology   Topology
	Link       Link
	Disk       Disk
	Handle     time.Duration // what a Handle of the plugin takes
	Groups     []Group
	Members    []MemberGroup
	Posts      Posts
	Partitions []Partition
	Restarts   []Restart
	Restores   []Restore
	Clocks     []Clock
	Sweep      Sweep
}

// Topology says which peers have links.
type Topology struct {
	Shape  string // full, ring, star or random
	Degree int    // of random: links of a peer, at least
}

// Link is how a link between two peers, or a peer and a member, behaves.
type Link struct {
	Latency, Jitter time.Duration // one way
	Bandwidth       int64         // bytes a second, in each direction
	CutEvery        time.Duration // mean time between two cuts of a link; 0: never
	Dial            time.Duration // until a link stands
}

// Disk is how long a store takes.
type Disk struct {
	Append, Read time.Duration
	Fail         float64 // share of what it is asked for that fails
}

// Group is a group of core peers.
type Group struct {
	Name      string
	Count     int
	Trace     Trace
	Latency   time.Duration // in addition to that of the link
	Bandwidth int64         // 0: that of the link
	Retention time.Duration // 0: everything is kept
	Skew      time.Duration // of the clock
	Mirror    bool          // nothing is taken from it

	EnvelopesPerHour, BytesPerDay int64 // what others take from it; 0: no limit

	Hostile []string // see hostileKinds
	Flood   int      // envelopes an hour that a peer that floods posts
}

// MemberGroup is a group of members, who write and read.
type MemberGroup struct {
	Name  string
	Count int
	Trace Trace
	Own   string // group of peers of which each member has one; then Trace is that of the peer
	Reads int    // core peers that a member reads from at a time
}

// Posts says what the members write.
type Posts struct {
	PerHour          int // all members together, while all are online
	MinSize, MaxSize int64
}

// Partition separates some peers from all others, and some members from all others. Without
// members, all of them reach both sides.
type Partition struct {
	Name     string
	At, Heal time.Duration
	Peers    []string
	Members  []string // groups that are on the side of the peers
}

// Restart ends some peers, and starts them again.
type Restart struct {
	Name  string
	At    time.Duration
	Every time.Duration // and again; 0: once
	Down  time.Duration
	Crash bool // what is not durable is lost
	Peers []string
}

// Restore puts the store of some peers back to what it was, with a new epoch.
type Restore struct {
	Name  string
	At    time.Duration
	Age   time.Duration
	Peers []string
}

// Clock makes the clocks of some peers jump.
type Clock struct {
	Name  string
	At    time.Duration
	Until time.Duration // when it is put right; 0: never
	By    time.Duration
	Peers []string
}

// Sweep varies the number of peers of a group, and the share of the time that they are online.
type Sweep struct {
	Group   string
	Counts  []int
	Onlines []float64
}

// Bounds of a scenario. What is beyond them would take hours, or memory that there is not.
const (
	maxPeers     = 64
	maxMembers   = 1000
	maxSeeds     = 10_000
	maxDuration  = 400 * 24 * time.Hour
	maxEnvelopes = 2_000_000
	maxPoints    = 100
)

func bound(n int64) *int64 { return &n }

func attribute(name string, kind plugin.Type, standard, doc string) plugin.Attribute {
	return plugin.Attribute{Name: name, Type: kind, Default: standard, Doc: doc}
}

func between(a plugin.Attribute, least, most int64) plugin.Attribute {
	a.Min, a.Max = &least, &most
	return a
}

func required(a plugin.Attribute) plugin.Attribute {
	a.Required, a.Default = true, ""
	return a
}

func oneOf(a plugin.Attribute, choices ...string) plugin.Attribute {
	a.OneOf = choices
	return a
}

// traceAttributes describe when a peer or a member is online.
func traceAttributes() []plugin.Attribute {
	return []plugin.Attribute{
		oneOf(attribute("trace", plugin.String, "always", "When it is online: always; in office hours; as a phone, in short sessions while its owner is awake; churn, by chance for a share of the time; or explicit, as on says."), "always", "office", "phone", "churn", "explicit"),
		attribute("online", plugin.String, "", "Of churn: the share of the time that it is online, as in \"25%\". 50% if it is not written."),
		between(attribute("session", plugin.Duration, "", "Of churn and phone: how long it is online at a time, on average. 3h for churn, and 5m for phone, if it is not written."), int64(time.Second), int64(maxDuration)),
		between(attribute("sessions", plugin.Int, "", "Of phone: sessions a day. 12 if it is not written."), 1, 1000),
		between(attribute("from", plugin.Int, "", "Of office and phone: hour of the day, local time, at which it begins. 9 for office, 7 for phone, if it is not written."), 0, 24),
		between(attribute("to", plugin.Int, "", "Of office and phone: hour of the day at which it ends. 17 for office, 23 for phone, if it is not written."), 0, 24),
		attribute("zones", plugin.StringList, "", "Of office and phone: hours by which the local time is ahead of UTC, as in [\"-8\", \"0\", \"+8\"]. The peers of the group take turns."),
		attribute("on", plugin.StringList, "", "Of explicit: when it is online, as in [\"0h-8h\", \"20h-30h\"], since the beginning."),
	}
}

func peersAttribute() plugin.Attribute {
	a := required(attribute("peers", plugin.StringList, "", "Names of groups of peers, or of one peer of a group, as in \"home.2\". They count from 0."))
	a.Min = bound(1)
	return a
}

// Schema is the schema of a scenario file.
func Schema() plugin.Schema {
	hours := int64(maxDuration)
	return plugin.Schema{
		Attributes: []plugin.Attribute{
			attribute("about", plugin.String, "", "What the scenario shows. It is printed above the results."),
			between(attribute("duration", plugin.Duration, "48h", "How long the members write."), int64(time.Minute), hours),
			between(attribute("settle", plugin.Duration, "24h", "How long the world goes on after that. What has not arrived by its end counts as not arrived."), 0, hours),
			attribute("algorithms", plugin.StringList, "", "What is compared: names of built-in plugins, flood or copy of the lab, or paths of plugins, which are executed. Only mesh if it is not written."),
			between(attribute("seeds", plugin.Int, "1", "How many runs there are of each, with seeds in a row."), 1, maxSeeds),
			between(attribute("first_seed", plugin.Int, "1", "The first of these seeds."), 0, 1<<62),
			attribute("heal", plugin.Bool, "true", "Whether at the end, everybody is online and all have to become equal."),
			between(attribute("handle", plugin.Duration, "20ms", "How long the plugin takes to handle events."), 0, int64(time.Minute)),
			between(attribute("max_overhead_percent", plugin.Int, "0", "What the first algorithm may send besides bodies that the receiver lacked, in percent of these. 0: no bound."), 0, 1<<40),
		},
		Blocks: []plugin.Block{
			{Name: "topology", Doc: "Which peers have links.", Schema: plugin.Schema{Attributes: []plugin.Attribute{
				oneOf(attribute("shape", plugin.String, "full", "full: each with each; ring; star: each with the first one; random: with degree others, drawn by the seed."), "full", "ring", "star", "random"),
				between(attribute("degree", plugin.Int, "4", "Of random: links of a peer, at least."), 1, maxPeers-1),
			}}},
			{Name: "link", Doc: "How links behave.", Schema: plugin.Schema{Attributes: []plugin.Attribute{
				between(attribute("latency", plugin.Duration, "400ms", "One way."), 0, int64(time.Minute)),
				between(attribute("jitter", plugin.Duration, "200ms", "Up to so much in addition, by chance. What is sent later never arrives earlier."), 0, int64(time.Minute)),
				between(attribute("bandwidth", plugin.Bytes, "1MiB", "A second, in each direction."), 128, 1<<40),
				between(attribute("cut_every", plugin.Duration, "12h", "Mean time between two cuts of a link. 0s: never."), 0, hours),
				between(attribute("dial", plugin.Duration, "6s", "How long it takes until a link stands."), 0, int64(10*time.Minute)),
			}}},
			{Name: "disk", Doc: "How long stores take.", Schema: plugin.Schema{Attributes: []plugin.Attribute{
				between(attribute("append", plugin.Duration, "8ms", "To append."), 0, int64(time.Minute)),
				between(attribute("read", plugin.Duration, "2ms", "To read."), 0, int64(time.Minute)),
				attribute("fail", plugin.String, "0%", "Share of what a store is asked for that fails, until the world heals: appends, reads, and the calls Log, Keys, RangeSum and Split of the plugin."),
			}}},
			{Name: "peers", Labelled: true, Doc: "A group of core peers: relays that replicate the board.", Schema: plugin.Schema{Attributes: append(traceAttributes(),
				between(attribute("count", plugin.Int, "1", "How many."), 1, maxPeers),
				between(attribute("latency", plugin.Duration, "0s", "In addition to that of the link."), 0, int64(time.Minute)),
				between(attribute("bandwidth", plugin.Bytes, "0", "A second. 0: that of the link. The slower end counts."), 0, 1<<40),
				between(attribute("retention", plugin.Duration, "0s", "How long an envelope is kept. 0s: for ever."), 0, hours),
				between(attribute("skew", plugin.Duration, "0s", "How far the clock is ahead."), -hours, hours),
				attribute("mirror", plugin.Bool, "false", "Whether the others take nothing from it."),
				between(attribute("envelopes_per_hour", plugin.Int, "0", "What the others take from it. 0: no limit."), 0, 1<<40),
				between(attribute("bytes_per_day", plugin.Bytes, "0", "What the others take from it. 0: no limit."), 0, 1<<50),
				oneOf(attribute("hostile", plugin.StringList, "", "What it does wrong: withholds bodies, floods the board, lies about sums, replays old frames, rolls its log back without a new epoch, changes born hours, sends garbage to the plugins."), hostileKinds...),
				between(attribute("flood_per_hour", plugin.Int, "1000", "Envelopes that a peer that floods posts."), 1, 1_000_000),
			)}},
			{Name: "members", Labelled: true, Doc: "A group of members, who write and read. Without any, each peer has one.", Schema: plugin.Schema{Attributes: append(traceAttributes(),
				between(attribute("count", plugin.Int, "1", "How many. With own, one for each peer of the group instead."), 1, maxMembers),
				attribute("own", plugin.String, "", "A group of peers. Each member has one of it on the same machine, is online with it and reaches it without Tor."),
				between(attribute("reads", plugin.Int, "", "From how many honest core peers a member reads at a time. 2, or the only one, if it is not written."), 1, maxPeers),
			)}},
			{Name: "posts", Doc: "What the members write.", Schema: plugin.Schema{Attributes: []plugin.Attribute{
				between(attribute("per_hour", plugin.Int, "10", "All members together, when all are online. Each writes only while online."), 0, 1_000_000),
				between(attribute("min_size", plugin.Bytes, "2KiB", "Bytes of an envelope, at least."), 64, 16<<10),
				between(attribute("max_size", plugin.Bytes, "6KiB", "Bytes of an envelope, at most."), 64, 16<<10),
			}}},
			{Name: "partition", Labelled: true, Doc: "Separates some peers from all others.", Schema: plugin.Schema{Attributes: []plugin.Attribute{
				peersAttribute(),
				attribute("members", plugin.StringList, "", "Groups of members that reach only these peers; then the other members reach only the other peers. All reach both sides if it is not written. A member always reaches its own core peer, and is on the side of it."),
				between(required(attribute("at", plugin.Duration, "", "When it begins.")), 0, hours),
				between(required(attribute("heal", plugin.Duration, "", "When it ends.")), 0, hours),
			}}},
			{Name: "restart", Labelled: true, Doc: "Ends some peers, and starts them again.", Schema: plugin.Schema{Attributes: []plugin.Attribute{
				peersAttribute(),
				between(required(attribute("at", plugin.Duration, "", "When.")), 0, hours),
				between(attribute("every", plugin.Duration, "0s", "And again after so long. 0s: once."), 0, hours),
				between(attribute("down", plugin.Duration, "1m", "How long they are down."), 0, hours),
				attribute("crash", plugin.Bool, "true", "Whether what their stores have not made durable is lost."),
			}}},
			{Name: "restore", Labelled: true, Doc: "Puts the stores of some peers back to a backup, with a new epoch.", Schema: plugin.Schema{Attributes: []plugin.Attribute{
				peersAttribute(),
				between(required(attribute("at", plugin.Duration, "", "When.")), 0, hours),
				between(required(attribute("age", plugin.Duration, "", "How old the backup is.")), 0, hours),
			}}},
			{Name: "clock", Labelled: true, Doc: "Makes the clocks of some peers jump.", Schema: plugin.Schema{Attributes: []plugin.Attribute{
				peersAttribute(),
				between(required(attribute("at", plugin.Duration, "", "When.")), 0, hours),
				between(attribute("until", plugin.Duration, "0s", "When it is put right. 0s: never."), 0, hours),
				between(required(attribute("by", plugin.Duration, "", "How far, as in \"-24h\".")), -hours, hours),
			}}},
			{Name: "sweep", Doc: "Runs everything for each number of peers and each share of the time.", Schema: plugin.Schema{Attributes: []plugin.Attribute{
				required(attribute("group", plugin.String, "", "The group of peers that varies. With online, its trace is churn.")),
				attribute("counts", plugin.StringList, "", "Numbers of peers, as in [\"1\", \"3\"]."),
				attribute("online", plugin.StringList, "", "Shares of the time, as in [\"10%\", \"50%\"]."),
			}}},
		},
	}
}

// Load reads a scenario from a file. Mistakes in it are a [config.Error]. builtIn are the names of
// the peer-sync plugins that there are.
func Load(path string, builtIn ...string) (*Scenario, error) {
	var s *Scenario
	name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	_, err := config.LoadBody(path, Schema(), func(values map[string]any) plugin.Diagnostics {
		r := reader{values: values}
		s = r.readScenario(name)
		r.checkAlgorithms(s, builtIn)
		return r.faults
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// reader turns the values of a file into a scenario, and collects what is wrong with them.
type reader struct {
	values map[string]any
	path   []string
	faults plugin.Diagnostics
}

func (r *reader) refuse(name, summary, detail string) {
	r.faults = append(r.faults, plugin.Diagnostic{Summary: summary, Detail: detail, Path: append(slices.Clone(r.path), name)})
}

func (r *reader) text(name string) string { s, _ := r.values[name].(string); return s }
func (r *reader) flag(name string) bool   { b, _ := r.values[name].(bool); return b }
func (r *reader) number(name string) int64 {
	n, _ := r.values[name].(int64)
	return n
}
func (r *reader) time(name string) time.Duration { return time.Duration(r.number(name)) }
func (r *reader) texts(name string) []string     { l, _ := r.values[name].([]string); return l }

// block returns a reader of the block with a name, whose defaults apply if it is not written.
func (r *reader) block(name string) *reader {
	values, ok := r.values[name].(map[string]any)
	if !ok {
		values = defaultsOf(name)
	}
	return &reader{values: values, path: append(slices.Clone(r.path), name)}
}

// defaultsOf returns the values of a block of the schema that has nothing written in it.
func defaultsOf(name string) map[string]any {
	values := make(map[string]any)
	blocks := Schema().Blocks
	i := slices.IndexFunc(blocks, func(b plugin.Block) bool { return b.Name == name })
	for _, a := range blocks[i].Schema.Attributes {
		if a.Default == "" {
			continue
		}
		v, err := a.Parse(a.Default)
		if err != nil {
			panic(err) // the schema is checked by a test
		}
		switch a.Type {
		case plugin.String:
			values[a.Name] = v.AsString()
		case plugin.Bool:
			values[a.Name] = v.True()
		default:
			values[a.Name], _ = v.AsBigFloat().Int64()
		}
	}
	return values
}

// forEach calls do for each labelled block of a type, in the order of the labels.
func (r *reader) forEach(name string, do func(label string, r *reader)) {
	blocks, _ := r.values[name].(map[string]map[string]any)
	for _, label := range slices.Sorted(maps.Keys(blocks)) {
		inner := &reader{values: blocks[label], path: append(slices.Clone(r.path), name, label)}
		do(label, inner)
		r.faults = append(r.faults, inner.faults...)
	}
}

func (r *reader) readScenario(name string) *Scenario {
	s := &Scenario{
		Name: name, About: r.text("about"), Duration: r.time("duration"), Settle: r.time("settle"),
		Algorithms: r.texts("algorithms"), Seeds: int(r.number("seeds")), FirstSeed: uint64(r.number("first_seed")),
		Heal: r.flag("heal"), Handle: r.time("handle"), MaxOverhead: int(r.number("max_overhead_percent")),
	}
	if len(s.Algorithms) == 0 {
		s.Algorithms = []string{"mesh"}
	}
	t := r.block("topology")
	s.Topology = Topology{Shape: t.text("shape"), Degree: int(t.number("degree"))}
	l := r.block("link")
	s.Link = Link{Latency: l.time("latency"), Jitter: l.time("jitter"), Bandwidth: l.number("bandwidth"), CutEvery: l.time("cut_every"), Dial: l.time("dial")}
	d := r.block("disk")
	s.Disk = Disk{Append: d.time("append"), Read: d.time("read")}
	share, ok := parsePercent(d.text("fail"), 0)
	if !ok {
		d.refuse("fail", "fail is not a share", `Write a number from 0 to 100 and a percent sign, as in "1%".`)
	}
	s.Disk.Fail = share
	r.faults = append(r.faults, d.faults...)
	r.readGroups(s)
	r.readSweep(s)
	r.readMembers(s)
	r.readPosts(s)
	r.readIncidents(s)
	return s
}

// checkAlgorithms refuses names that nobody knows. What a path leads to is found out later.
func (r *reader) checkAlgorithms(s *Scenario, builtIn []string) {
	known := slices.Clone(builtIn)
	for _, p := range Baselines() {
		known = append(known, p.Name)
	}
	for _, name := range s.Algorithms {
		if !strings.ContainsRune(name, filepath.Separator) && !slices.Contains(known, name) {
			r.refuse("algorithms", fmt.Sprintf("There is no peer-sync plugin %q", name),
				"There are: "+strings.Join(known, ", ")+"; for a program, write its path with a slash, as in \"./"+name+"\".")
		}
	}
}

func (r *reader) readGroups(s *Scenario) {
	total, honest := 0, 0
	r.forEach("peers", func(label string, r *reader) {
		g := Group{
			Name: label, Count: int(r.number("count")), Trace: r.readTrace(),
			Latency: r.time("latency"), Bandwidth: r.number("bandwidth"), Retention: r.time("retention"), Skew: r.time("skew"), Mirror: r.flag("mirror"),
			EnvelopesPerHour: r.number("envelopes_per_hour"), BytesPerDay: r.number("bytes_per_day"),
			Hostile: r.texts("hostile"), Flood: int(r.number("flood_per_hour")),
		}
		if g.Bandwidth > 0 && g.Bandwidth < 128 {
			r.refuse("bandwidth", "The bandwidth is too small", "Write 0 for that of the link, or at least 128.")
		}
		total += g.Count
		if len(g.Hostile) == 0 {
			honest += g.Count
		}
		s.Groups = append(s.Groups, g)
	})
	switch {
	case len(s.Groups) == 0:
		r.refuse("peers", "There are no peers", `Write for example: peers "home" { count = 3 }`)
	case total > maxPeers:
		r.refuse("peers", fmt.Sprintf("There are %d peers, and at most %d are possible", total, maxPeers), "")
	case honest == 0:
		r.refuse("peers", "All peers are hostile", "Members read from honest ones only, and only these are measured. Write at least one group without hostile.")
	}
}

func (r *reader) readMembers(s *Scenario) {
	total := 0
	r.forEach("members", func(label string, r *reader) {
		m := MemberGroup{Name: label, Count: int(r.number("count")), Trace: r.readTrace(), Own: r.text("own"), Reads: int(r.number("reads"))}
		if m.Own != "" {
			if g := s.findGroup(m.Own); g != nil {
				m.Count = g.Count
			} else {
				r.refuse("own", fmt.Sprintf("There is no group of peers %q", m.Own), "")
			}
		}
		honest := s.countHonest()
		if m.Reads > honest {
			r.refuse("reads", fmt.Sprintf("reads is %d, and there are never more than %d honest peers", m.Reads, honest), "")
		}
		if m.Reads == 0 {
			m.Reads = 2 // there may be fewer
		}
		total += m.Count
		s.Members = append(s.Members, m)
	})
	if total > maxMembers {
		r.refuse("members", fmt.Sprintf("There are %d members, and at most %d are possible", total, maxMembers), "")
	}
	if len(s.Members) == 0 {
		for _, g := range s.Groups {
			s.Members = append(s.Members, MemberGroup{Name: g.Name, Count: g.Count, Own: g.Name, Reads: 2})
		}
	}
}

func (r *reader) readPosts(s *Scenario) {
	p := r.block("posts")
	s.Posts = Posts{PerHour: int(p.number("per_hour")), MinSize: p.number("min_size"), MaxSize: p.number("max_size")}
	if s.Posts.MinSize > s.Posts.MaxSize {
		p.refuse("min_size", "The least size is greater than the greatest", "")
	}
	n := float64(s.Posts.PerHour) * s.Duration.Hours()
	for _, g := range s.Groups {
		if slices.Contains(g.Hostile, "floods") {
			n += float64(g.Flood*g.Count) * (s.Duration + s.Settle).Hours()
		}
	}
	if n > maxEnvelopes {
		p.refuse("per_hour", fmt.Sprintf("There would be %.0f envelopes, and at most %d are possible", n, maxEnvelopes), "Shorten the duration, or lower the rate.")
	}
	r.faults = append(r.faults, p.faults...)
}

func (r *reader) readIncidents(s *Scenario) {
	r.forEach("partition", func(label string, r *reader) {
		p := Partition{Name: label, At: r.readMoment(s), Heal: r.time("heal"), Peers: r.readPeers(s)}
		p.Members = r.texts("members")
		for _, name := range p.Members {
			if !slices.ContainsFunc(s.Members, func(m MemberGroup) bool { return m.Name == name && m.Own == "" }) {
				r.refuse("members", fmt.Sprintf("There are no members %q without core peers of their own", name), "Write the label of a members block.")
			}
		}
		if p.Heal <= p.At {
			r.refuse("heal", "The partition heals before it begins", "")
		}
		s.Partitions = append(s.Partitions, p)
	})
	r.forEach("restart", func(label string, r *reader) {
		x := Restart{Name: label, At: r.readMoment(s), Every: r.time("every"), Down: r.time("down"), Crash: r.flag("crash"), Peers: r.readPeers(s)}
		if x.Every > 0 && x.Every <= x.Down {
			r.refuse("every", "The peers restart before they are up again", "")
		}
		s.Restarts = append(s.Restarts, x)
	})
	r.forEach("restore", func(label string, r *reader) {
		s.Restores = append(s.Restores, Restore{Name: label, At: r.readMoment(s), Age: r.time("age"), Peers: r.readPeers(s)})
	})
	r.forEach("clock", func(label string, r *reader) {
		s.Clocks = append(s.Clocks, Clock{Name: label, At: r.readMoment(s), Until: r.time("until"), By: r.time("by"), Peers: r.readPeers(s)})
	})
}

// readMoment refuses what would happen after the end.
func (r *reader) readMoment(s *Scenario) time.Duration {
	at := r.time("at")
	if end := s.Duration + s.Settle; at >= end {
		r.refuse("at", fmt.Sprintf("This happens at %v, and the run ends at %v", at, end), "The end is duration and settle together.")
	}
	return at
}

// readPeers checks names of peers.
func (r *reader) readPeers(s *Scenario) []string {
	names := r.texts("peers")
	for _, name := range names {
		group, number, single := strings.Cut(name, ".")
		g := s.findGroup(group)
		i, err := strconv.Atoi(number)
		if g == nil || single && (err != nil || i < 0 || i >= g.Count) {
			r.refuse("peers", fmt.Sprintf("There are no peers %q", name), "Write the label of a peers block, or one and a number below its count, as in \"home.0\".")
		}
	}
	return names
}

func (r *reader) readSweep(s *Scenario) {
	if _, written := r.values["sweep"].(map[string]any); !written {
		return
	}
	w := r.block("sweep")
	s.Sweep.Group = w.text("group")
	if s.findGroup(s.Sweep.Group) == nil {
		w.refuse("group", fmt.Sprintf("There is no group of peers %q", s.Sweep.Group), "")
	}
	for _, text := range w.texts("counts") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPeers {
			w.refuse("counts", fmt.Sprintf("%q is not a number of peers from 1 to %d", text, maxPeers), "")
		}
		s.Sweep.Counts = append(s.Sweep.Counts, n)
	}
	for _, text := range w.texts("online") {
		share, ok := parsePercent(text, 1)
		if !ok {
			w.refuse("online", fmt.Sprintf("%q is not a share of the time", text), `Write a number from 1 to 100 and a percent sign, as in "25%".`)
		}
		s.Sweep.Onlines = append(s.Sweep.Onlines, share)
	}
	if max(len(s.Sweep.Counts), 1)*max(len(s.Sweep.Onlines), 1) > maxPoints {
		w.refuse("counts", fmt.Sprintf("The sweep has more than %d points", maxPoints), "")
	}
	r.faults = append(r.faults, w.faults...)
}

// parsePercent reads a share such as "25%", of at least so many percent.
func parsePercent(text string, least float64) (share float64, ok bool) {
	n, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	return n / 100, err == nil && strings.HasSuffix(text, "%") && n >= least && n <= 100
}

// countHonest returns how many honest peers there are at the point of the sweep that has most.
func (s *Scenario) countHonest() (n int) {
	for _, g := range s.Groups {
		switch {
		case len(g.Hostile) > 0:
		case g.Name == s.Sweep.Group && len(s.Sweep.Counts) > 0:
			n += slices.Max(s.Sweep.Counts)
		default:
			n += g.Count
		}
	}
	return n
}

func (s *Scenario) findGroup(name string) *Group {
	for i := range s.Groups {
		if s.Groups[i].Name == name {
			return &s.Groups[i]
		}
	}
	return nil
}

// Point is one combination of a sweep.
type Point struct {
	Count  int     `json:"count,omitempty"`  // 0: as the scenario says
	Online float64 `json:"online,omitempty"` // 0: as the scenario says
}

// points returns all combinations of the sweep.
func (s *Scenario) points() []Point {
	counts, onlines := s.Sweep.Counts, s.Sweep.Onlines
	if len(counts) == 0 {
		counts = []int{0}
	}
	if len(onlines) == 0 {
		onlines = []float64{0}
	}
	var points []Point
	for _, c := range counts {
		for _, o := range onlines {
			points = append(points, Point{Count: c, Online: o})
		}
	}
	return points
}

// at returns the scenario at a point of its sweep.
func (s *Scenario) at(p Point) *Scenario {
	out := *s
	out.Groups = slices.Clone(s.Groups)
	out.Members = slices.Clone(s.Members)
	g := out.findGroup(s.Sweep.Group)
	if g == nil {
		return &out
	}
	if p.Count > 0 {
		g.Count = p.Count
		for i := range out.Members {
			if out.Members[i].Own == g.Name {
				out.Members[i].Count = p.Count
			}
		}
	}
	if p.Online > 0 {
		g.Trace.Kind, g.Trace.Online = "churn", p.Online
		if g.Trace.Session == 0 {
			g.Trace.Session = defaultChurn
		}
	}
	return &out
}
