package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cwtch-relay/cwtch-relay/config" //nolint:depguard // the errors of scenarios
	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// TestMain makes this binary a plugin as well.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "serve-flood" {
		plugin.Serve(Baselines()[0])
		return
	}
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/cwtch-relay/cwtch-relay/sdk/pluginproc.spawnLoop"))
}

// findBaseline finds the algorithms of this package.
func findBaseline(name string) (*Algorithm, error) {
	if a := Baseline(name); a != nil {
		return a, nil
	}
	return nil, fmt.Errorf("there is no algorithm %q", name)
}

func writeScenario(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.hcl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// loadText loads a scenario from a text.
func loadText(t testing.TB, text string) *Scenario {
	t.Helper()
	s, err := Load(writeScenario(t, text), "mesh")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func runText(t testing.TB, text string, workers int) *Report {
	t.Helper()
	r, err := Run(t.Context(), Config{Scenarios: []*Scenario{loadText(t, text)}, Find: findBaseline, Workers: workers})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const mixed = `
duration   = "24h"
settle     = "6h"
algorithms = ["flood", "copy"]
seeds      = 2
peers "home" {
  count     = 3
  trace     = "churn"
  online    = "60%"
  retention = "12h"
}
peers "office" {
  trace = "office"
  zones = ["2"]
}
members "people" { count = 6 }
members "phone" {
  count = 3
  trace = "phone"
}
link { cut_every = "1h" }
restart "crash" {
  peers = ["home"]
  at    = "3h"
  every = "5h"
}
sweep {
  group  = "home"
  counts = ["2", "3"]
}
`

// TestSameSeedSameBytes shows that a report depends on nothing but the scenario.
func TestSameSeedSameBytes(t *testing.T) {
	var texts [2][]byte
	for i, workers := range []int{1, 3} {
		r := runText(t, mixed, workers)
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		texts[i] = append(text, r.renderPage()...)
		if len(r.Broken()) > 0 {
			t.Error(r.Broken())
		}
	}
	if !bytes.Equal(texts[0], texts[1]) {
		t.Error("two runs with the same seeds have different reports")
	}
}

// TestSchemaIsValid also reads the default of every attribute.
func TestSchemaIsValid(t *testing.T) {
	if err := Schema().Validate(); err != nil {
		t.Error(err)
	}
	for _, b := range Schema().Blocks {
		if !b.Labelled {
			defaultsOf(b.Name)
		}
	}
}

func TestMistakesHaveTheirPlace(t *testing.T) {
	for text, want := range map[string]string{
		`peers "a" { cuont = 3 }`: "test.hcl line 1, column 13",
		`duration = "1h"`:         "there are no peers",
		"peers \"a\" {}\npartition \"p\" {\n at = \"1h\"\n heal = \"2h\"\n peers = [\"b\"]\n}":                                     "line 5, column 10, in partition \"p\"",
		"peers \"a\" {}\npartition \"p\" {\n at = \"3h\"\n heal = \"2h\"\n peers = [\"a.0\"]\n}":                                   "the partition heals before it begins",
		"peers \"a\" {}\nsweep {\n group = \"a\"\n online = [\"150%\"]\n}":                                                         `"150%" is not a share of the time`,
		"peers \"a\" { count = 40 }\npeers \"b\" { count = 40 }":                                                                   "there are 80 peers",
		"peers \"a\" {\n trace = \"explicit\"\n}":                                                                                  "explicit needs times",
		"peers \"a\" {\n trace = \"explicit\"\n on = [\"3h-2h\"]\n}":                                                               `"3h-2h" is not a time after the one before`,
		"peers \"a\" {}\nposts { per_hour = 1000000 }":                                                                             "envelopes, and at most",
		"peers \"a\" {}\nmembers \"m\" { own = \"b\" }":                                                                            `there is no group of peers "b"`,
		"peers \"a\" { hostile = [\"rude\"] }":                                                                                     `hostile must be`,
		"peers \"a\" {}\nrestart \"r\" {\n peers = [\"a.1\"]\n at = \"1h\"\n}":                                                     `there are no peers "a.1"`,
		"peers \"a\" {}\nalgorithms = [\"mash\"]":                                                                                  `line 2, column 14`,
		"algorithms = [\"flood\", \"mash\"]\npeers \"a\" {}":                                                                       `There are: mesh, flood, copy; for a program, write its path with a slash, as in "./mash".`,
		"peers \"a\" { online = \"10%\" }":                                                                                         `online has no effect with the trace "always"`,
		"peers \"a\" {\n trace = \"churn\"\n on = [\"1h-2h\"]\n}":                                                                  `on has no effect with the trace "churn"`,
		"peers \"a\" { hostile = [\"lies\"] }":                                                                                     "all peers are hostile",
		"peers \"a\" {}\nduration = \"1h\"\nsettle = \"1h\"\npartition \"p\" {\n at = \"2h\"\n heal = \"3h\"\n peers = [\"a\"]\n}": "this happens at 2h0m0s, and the run ends at 2h0m0s",
		"peers \"a\" { count = 2 }\npeers \"b\" { hostile = [\"lies\"] }\nmembers \"m\" { reads = 3 }":                             "reads is 3, and there are never more than 2 honest peers",
		"peers \"a\" {}\ndisk { fail = \"101%\" }":                                                                                 "fail is not a share",
		"peers \"a\" {\n trace = \"office\"\n zones = [\"99\"]\n}":                                                                 `"99" is not a time zone`,
	} {
		_, err := Load(writeScenario(t, text), "mesh")
		if _, located := err.(*config.Error); !located || !strings.Contains(err.Error(), want) { //nolint:errorlint // it is not wrapped
			t.Errorf("%s\ngives %v, want %q", text, err, want)
		}
	}
}

// TestExamplesLoad also runs a short form of each.
func TestExamplesLoad(t *testing.T) {
	paths, err := filepath.Glob("../../examples/lab/*.hcl")
	if err != nil || len(paths) < 10 {
		t.Fatalf("%v, %v", paths, err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			s, err := Load(path, "mesh")
			if err != nil {
				t.Fatal(err)
			}
			shorten := func(d *time.Duration) { *d = min(*d, 3*time.Hour) }
			shorten(&s.Duration)
			shorten(&s.Settle)
			s.Seeds, s.MaxOverhead = 1, 0
			s.Posts.PerHour = min(s.Posts.PerHour, 60)
			s.Sweep.Counts, s.Sweep.Onlines = s.Sweep.Counts[:min(1, len(s.Sweep.Counts))], s.Sweep.Onlines[:min(1, len(s.Sweep.Onlines))]
			for i := range s.Groups {
				s.Groups[i].Count = min(s.Groups[i].Count, 6)
			}
			s.Algorithms = []string{"flood"}
			r, err := Run(t.Context(), Config{Scenarios: []*Scenario{s}, Find: findBaseline})
			if err != nil || len(r.Broken()) > 0 {
				t.Errorf("%v, %v", err, r.Broken())
			}
		})
	}
}

var seedCount = flag.Int("lab.seeds", 200, "short simulations of TestSeeds")

// failedSeeds have failed once.
var failedSeeds = []uint64{}

// TestSeeds runs many short and rough simulations of the simplest algorithm; those of mesh are beside
// the command. A seed that fails is added to failedSeeds.
func TestSeeds(t *testing.T) {
	if testing.Short() {
		*seedCount = 50
	}
	s, err := Load("../../examples/lab/rough.hcl", "mesh")
	if err != nil {
		t.Fatal(err)
	}
	s.Algorithms, s.Seeds = []string{"flood"}, *seedCount
	runSeeds(t, s)
	for _, seed := range failedSeeds {
		s.FirstSeed, s.Seeds = seed, 1
		runSeeds(t, s)
	}
}

func runSeeds(t *testing.T, s *Scenario) {
	t.Helper()
	t.Logf("seeds %d to %d", s.FirstSeed, s.FirstSeed+uint64(s.Seeds)-1)
	r, err := Run(t.Context(), Config{Scenarios: []*Scenario{s}, Find: findBaseline})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range r.Broken() {
		t.Error(&v)
	}
	if res := r.Scenarios[0].Results[0]; res.PluginErrors > 0 || res.Messages == 0 || res.Replicated == 0 {
		t.Errorf("%d messages, %d replicated, %d errors of plugins, the first one %s", res.Messages, res.Replicated, res.PluginErrors, res.PluginError)
	}
}

// TestProcess shows that a plugin in a process of its own does exactly what it does without.
func TestProcess(t *testing.T) {
	d := Baselines()[0].Describe()
	external, err := FromProcess(d, t.TempDir(), slog.New(slog.DiscardHandler), func() (pluginproc.Command, error) {
		return pluginproc.Command{Path: "/proc/self/exe", Args: []string{"serve-flood"}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s := loadText(t, `
duration   = "1h"
settle     = "10m"
heal       = false
algorithms = ["flood", "./flood"]
peers "home" { count = 2 }
posts { per_hour = 20 }
`)
	r, err := Run(t.Context(), Config{Scenarios: []*Scenario{s}, Find: func(name string) (*Algorithm, error) {
		if name == "./flood" {
			return external, nil
		}
		return findBaseline(name)
	}})
	if err != nil {
		t.Fatal(err)
	}
	inside, outside := r.Scenarios[0].Results[0], r.Scenarios[0].Results[1]
	if inside.Algorithm != "flood" || outside.Algorithm != "./flood" {
		t.Errorf("the rows are of %q and %q, and the scenario has flood and ./flood", inside.Algorithm, outside.Algorithm)
	}
	outside.Algorithm = inside.Algorithm
	a, errA := json.Marshal(inside)
	b, errB := json.Marshal(outside)
	if errA != nil || errB != nil || !bytes.Equal(a, b) || inside.Replicated == 0 {
		t.Errorf("inside %s\noutside %s", a, b)
	}
}

// broken is an algorithm that misbehaves.
type broken struct {
	peersync.Replicator
	handle func(context.Context, []peersync.Event) error
}

func (b broken) Handle(ctx context.Context, events []peersync.Event) error {
	if b.handle != nil {
		return b.handle(ctx, events)
	}
	return b.Replicator.Handle(ctx, events)
}

// TestInvariantsAreChecked breaks worlds, and looks for the word of the lab.
func TestInvariantsAreChecked(t *testing.T) {
	for name, c := range map[string]struct {
		want     string
		sabotage func(w *world)
	}{
		"an envelope that vanishes": {"I5", func(w *world) { w.nodes[0].store.count-- }},
		"a key that is missing":     {"I8", func(w *world) { w.nodes[0].store.index.DropBelow(1 << 31) }},
		"a sequence number used twice": {"I2", func(w *world) {
			s := w.nodes[0].store
			s.places[s.log[0].number].seq = 2
		}},
		"an envelope below the floor": {"I3", func(w *world) { w.nodes[0].store.floor = w.nodes[0].hour() + 1 }},
		"a board that stays different": {"I7", func(w *world) {
			for _, n := range w.nodes {
				w.members[0].write()
				n.closeReplicator()
			}
		}},
		"a member that missed something": {"I6", func(w *world) {
			for i := range w.members[0].has {
				w.members[0].has[i] = 0
			}
		}},
	} {
		s := loadText(t, "duration = \"2h\"\nsettle = \"2h\"\npeers \"home\" { count = 2 }\nposts { per_hour = 30 }\nlink { cut_every = \"0s\" }\n")
		a := Baseline("flood")
		w := newWorld(t.Context(), s, a, 1)
		w.at(3*time.Hour, func() { c.sabotage(w) })
		if err := w.run(); err != nil {
			t.Fatal(err)
		}
		w.close()
		if w.violation == nil || w.violation.Invariant != c.want {
			t.Errorf("%s: %v, want %s", name, w.violation, c.want)
		}
	}
}

// TestShortRetentionHidesNothing shows that boards are compared above the floor of each peer, although
// one of them keeps envelopes only for an hour.
func TestShortRetentionHidesNothing(t *testing.T) {
	for name, sabotage := range map[string]func(w *world){
		"between two that keep all":    func(w *world) { w.nodes[0].store.forget(w, 0) },
		"of the one that keeps little": func(w *world) { w.nodes[2].store.forget(w, int32(len(w.envelopes)-1)) },
	} {
		s := loadText(t, "duration = \"3h\"\nsettle = \"10m\"\npeers \"home\" { count = 2 }\npeers \"short\" { retention = \"1h\" }\nmembers \"people\" { count = 4 }\nposts { per_hour = 60 }\nlink { cut_every = \"0s\" }\n")
		w := newWorld(t.Context(), s, Baseline("flood"), 1)
		w.at(3*time.Hour+9*time.Minute, func() { sabotage(w) })
		if err := w.run(); err != nil {
			t.Fatal(err)
		}
		w.close()
		if w.violation == nil || w.violation.Invariant != "I7" {
			t.Errorf("%s: %v, want I7", name, w.violation)
		}
	}
}

// forget loses an envelope without a trace.
func (s *store) forget(w *world, number int32) {
	if !s.holds(number) {
		w.violate("test", "there is nothing to forget")
		return
	}
	s.remove(number)
	s.places[number] = place{}
	s.rebuildIndex()
	s.mark++
}

// TestComparisonOfNothingIsNoted breaks a run in which boards are called equal without a look at any
// envelope.
func TestComparisonOfNothingIsNoted(t *testing.T) {
	s := loadText(t, "duration = \"1h\"\nsettle = \"10m\"\npeers \"home\" { count = 2 }\nposts { per_hour = 30 }\n")
	w := newWorld(t.Context(), s, Baseline("flood"), 1)
	defer w.close()
	if err := w.run(); err != nil || w.violation != nil || w.tally.Compared != w.tally.Posted || w.tally.Posted == 0 {
		t.Fatalf("%v, %v: %d compared of %d", err, w.violation, w.tally.Compared, w.tally.Posted)
	}
	for _, n := range w.nodes {
		for number := range w.envelopes {
			n.store.remove(int32(number))
		}
	}
	if w.checkCompared(); w.violation == nil || w.violation.Invariant != "I7" {
		t.Errorf("%v, want I7", w.violation)
	}
}

// TestDropBetweenHonestPeersIsNoted breaks a run in which a plugin drops an honest peer.
func TestDropBetweenHonestPeersIsNoted(t *testing.T) {
	s := loadText(t, "duration = \"1h\"\npeers \"home\" { count = 2 }\n")
	w := newWorld(t.Context(), s, Baseline("flood"), 1)
	defer w.close()
	w.at(30*time.Minute, func() {
		if err := (&services{w.nodes[0]}).Drop(t.Context(), w.nodes[1].peer(), "a test"); err != nil {
			t.Error(err)
		}
	})
	if err := w.run(); err != nil || w.violation == nil || w.violation.Invariant != "I11" {
		t.Errorf("%v, %v, want I11", err, w.violation)
	}
}

// TestDisksFail shows that as much fails as the scenario says, that plugins and members get over it,
// and that nothing fails while the world heals.
func TestDisksFail(t *testing.T) {
	s := loadText(t, "duration = \"4h\"\nsettle = \"1h\"\npeers \"home\" { count = 3 }\nposts { per_hour = 60 }\ndisk { fail = \"20%\" }\n")
	w := newWorld(t.Context(), s, Baseline("flood"), 1)
	defer w.close()
	failed := 0
	for range 1000 {
		if w.nodes[0].failNow() != nil {
			failed++
		}
	}
	if failed < 150 || failed > 250 {
		t.Errorf("%d of 1000 fail, want a fifth", failed)
	}
	if err := w.run(); err != nil || w.violation != nil || w.tally.PluginErrors > 0 || w.tally.Replicated == 0 || w.tally.Posted != w.tally.Written {
		t.Errorf("%v, %v, %+v", err, w.violation, w.tally)
	}
	for range 1000 {
		if err := w.nodes[0].failNow(); err != nil {
			t.Fatal("a disk fails while the world heals")
		}
	}
}

// TestWithholdingIsSilentOrNot shows both forms: the word that envelopes are gone, and none.
func TestWithholdingIsSilentOrNot(t *testing.T) {
	s := loadText(t, "duration = \"1h\"\npeers \"home\" {}\npeers \"bad\" { hostile = [\"withholds\"] }\n")
	w := newWorld(t.Context(), s, Baseline("flood"), 1)
	said := 0
	for range 1000 {
		said += len(w.nodesOf([]string{"bad"})[0].alter(nil, &peerlink.Gone{IDs: make([]storage.ID, 1)}))
	}
	if said < 400 || said > 600 {
		t.Errorf("%d of 1000 are said, want half", said)
	}
}

// TestPartitionConfinesMembers shows that members of one side neither read nor post on the other one,
// that those with an own core peer share its side, and that all reach both sides otherwise.
func TestPartitionConfinesMembers(t *testing.T) {
	for _, confined := range []bool{true, false} {
		members := ""
		if confined {
			members = "members = [\"easterners\"]\n"
		}
		s := loadText(t, "duration = \"4h\"\npeers \"west\" { count = 2 }\npeers \"east\" { count = 2 }\nmembers \"easterners\" { count = 4 }\nmembers \"others\" { count = 4 }\nmembers \"owners\" { own = \"east\" }\nposts { per_hour = 60 }\npartition \"cable\" {\n peers = [\"east\"]\n"+members+" at = \"1h\"\n heal = \"3h\"\n}\n")
		w := newWorld(t.Context(), s, Baseline("flood"), 1)
		across := 0
		w.at(2*time.Hour, func() {
			for _, m := range w.members {
				if len(m.attached) == 0 {
					t.Errorf("a member of %s reaches nobody", m.group.Name)
				}
				for _, a := range m.attached {
					if (m.group.Name == "others") != (a.node.group.Name == "west") {
						across++
					}
				}
			}
		})
		if err := w.run(); err != nil || w.violation != nil || w.tally.Posted != w.tally.Written {
			t.Errorf("%v, %v, %d posted of %d", err, w.violation, w.tally.Posted, w.tally.Written)
		}
		w.close()
		if confined != (across == 0) {
			t.Errorf("with confined %v, %d members reach across", confined, across)
		}
	}
}

// TestArrivalCountsOnce shows that what comes again after a restore is no second arrival.
func TestArrivalCountsOnce(t *testing.T) {
	s := loadText(t, "duration = \"2h\"\npeers \"home\" { count = 2 }\nposts { per_hour = 60 }\nrestore \"backup\" {\n peers = [\"home.0\"]\n at = \"1h\"\n age = \"50m\"\n}\n")
	w := newWorld(t.Context(), s, Baseline("flood"), 1)
	defer w.close()
	if err := w.run(); err != nil || w.violation != nil {
		t.Fatalf("%v, %v", err, w.violation)
	}
	for number := range w.envelopes {
		if have := w.envelopes[number].peers.have; have > 2 {
			t.Fatalf("envelope %d has arrived %d times at 2 peers", number, have)
		}
	}
}

// TestOverheadIsBounded shows that I10 is checked.
func TestOverheadIsBounded(t *testing.T) {
	r := runText(t, "duration = \"2h\"\nalgorithms = [\"copy\"]\nmax_overhead_percent = 10\npeers \"home\" { count = 2 }\n", 1)
	if b := r.Broken(); len(b) != 1 || b[0].Invariant != "I10" {
		t.Errorf("broken are %v", b)
	}
}

// TestFailuresOfPluginsAreCounted shows that a plugin that fails is started again.
func TestFailuresOfPluginsAreCounted(t *testing.T) {
	s := loadText(t, "duration = \"2h\"\npeers \"home\" { count = 2 }\n")
	good := Baseline("flood")
	bad := *good
	bad.Open = func(ctx context.Context, h peersync.HostServices) (peersync.Replicator, error) {
		r, err := good.Open(ctx, h)
		calls := 0
		return broken{r, func(ctx context.Context, events []peersync.Event) error {
			if calls++; calls%100 == 0 {
				return fmt.Errorf("call %d", calls)
			}
			return r.Handle(ctx, events)
		}}, err
	}
	w := newWorld(t.Context(), s, &bad, 1)
	defer w.close()
	if err := w.run(); err != nil || w.violation != nil {
		t.Fatalf("%v, %v", err, w.violation)
	}
	if w.tally.PluginErrors == 0 || w.tally.PluginError != "call 100" {
		t.Errorf("%d errors, the first %q", w.tally.PluginErrors, w.tally.PluginError)
	}
}

func TestTraces(t *testing.T) {
	week := 7 * day
	online := func(spans []span) (sum time.Duration) {
		for i, s := range spans {
			if s.from < 0 || s.to <= s.from || i > 0 && s.from <= spans[i-1].to {
				t.Fatalf("the spans are %v", spans)
			}
			sum += s.to - s.from
		}
		return sum
	}
	if got := (Trace{Kind: "always"}).spans(0, week, nil); !slices.Equal(got, []span{{0, week}}) {
		t.Errorf("always: %v", got)
	}
	office := Trace{Kind: "office", From: 9, To: 17, Zones: []int{0, 8}}
	for i, zone := range office.Zones {
		spans := office.spans(i, week, newChance(1, "office"))
		if sum := online(spans); sum < 36*time.Hour || sum > 44*time.Hour {
			t.Errorf("office hours are %v", sum)
		}
		first := spans[0].from + time.Duration(zone)*time.Hour // local time
		if first < 8*time.Hour || first > 10*time.Hour {
			t.Errorf("in zone %d the first day begins at %v", zone, first)
		}
	}
	churn := Trace{Kind: "churn", Online: 0.25, Session: time.Hour}
	if share := online(churn.spans(0, 100*week, newChance(1, "churn"))).Hours() / (100 * week).Hours(); share < 0.23 || share > 0.27 {
		t.Errorf("churn is online %.2f of the time", share)
	}
	phone := Trace{Kind: "phone", Session: 5 * time.Minute, Sessions: 10, From: 7, To: 23}
	if sum := online(phone.spans(0, week, newChance(1, "phone"))); sum < 4*time.Hour || sum > 8*time.Hour {
		t.Errorf("a phone is online for %v", sum)
	}
}

func TestClockKeepsOrder(t *testing.T) {
	c := &clock{}
	chance := newChance(1, "clock")
	var got, want []int
	for i := range 1000 {
		at := time.Duration(chance.IntN(50))
		c.at(at, func() { got = append(got, int(at)<<16|i) })
		want = append(want, int(at)<<16|i)
	}
	for c.step(time.Minute) {
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Error("things happen in another order than by time and number")
	}
}

// TestPage looks for what a page must not have, and for what it must.
func TestPage(t *testing.T) {
	r := runText(t, mixed, 0)
	r.Scenarios[0].About = `<script>alert("x")</script>`
	r.Scenarios[0].Results[0].Violations = []Violation{{Invariant: "I7", Text: "<b>"}}
	page := string(r.renderPage())
	for _, forbidden := range []string{"http://", "https://", "<script", "<link", "<img", "@import", "url(", "<b>"} {
		if strings.Contains(page, forbidden) {
			t.Errorf("the page has %s", forbidden)
		}
	}
	for _, wanted := range []string{"prefers-color-scheme: dark", "<title>", `role="img"`, "width=device-width", "1 runs broke", "core peers"} {
		if !strings.Contains(page, wanted) {
			t.Errorf("the page lacks %s", wanted)
		}
	}
	if bad := regexp.MustCompile(`NaN|Inf|%!`).FindString(page); bad != "" {
		t.Errorf("the page has %s", bad)
	}
	var table strings.Builder
	if err := r.WriteTable(&table); err != nil || !strings.Contains(table.String(), "invariant I7 is broken") {
		t.Errorf("%v\n%s", err, table.String())
	}
	dir := filepath.Join(t.TempDir(), "report")
	if err := r.WriteFiles(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err != nil || json.Unmarshal(text, new(Report)) != nil {
		t.Errorf("report.json: %v", err)
	}
	charts, err := filepath.Glob(filepath.Join(dir, "charts", "*.svg"))
	if err != nil || len(charts) < 4 {
		t.Fatalf("charts: %q, %v", charts, err)
	}
	for _, chart := range charts {
		text, err := os.ReadFile(chart)
		if err != nil || xml.Unmarshal(text, new(struct {
			XMLName xml.Name `xml:"http://www.w3.org/2000/svg svg"`
		})) != nil {
			t.Errorf("%s is not a drawing: %v", chart, err)
		}
	}
}
