package manager

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/replica"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// TestPlanChangesPeersInPlace: another list of peers starts and stops nothing.
func TestPlanChangesPeersInPlace(t *testing.T) {
	peer := func(name string) PeerConfig {
		return PeerConfig{Peer: replica.Peer{Name: name, Onion: identity.NewKey().Onion(), Gives: true}, Where: "f:1,1"}
	}
	a, b, c := peer("a"), peer("b"), peer("c")
	main := ServerConfig{Name: "main", Storage: brokenPlugin(t, plugin.KindStorage, "bolt", nil)}
	m := newManagerWith(t, Config{Path: "f", Servers: []ServerConfig{main}})
	s := m.servers[0]
	keys, err := identity.LoadOrCreate(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	s.keys, s.peers = keys, []PeerConfig{a, b}
	plan := func(peers ...PeerConfig) *Plan {
		next := m.cfg
		next.Servers = slices.Clone(next.Servers)
		next.Servers[0].Peers = peers
		return m.makePlan(next)
	}
	setOf := func(p *Plan) (settings []string) {
		for _, step := range p.Steps {
			if step.Action == ActionSet {
				settings = append(settings, step.Settings...)
			}
		}
		return settings
	}
	paused, moved := b, a
	paused.Paused, moved.Where = true, "f:9,1"
	for name, test := range map[string]struct {
		peers []PeerConfig
		want  []string
	}{
		"the same elsewhere": {[]PeerConfig{moved, b}, nil},
		"one more":           {[]PeerConfig{a, b, c}, []string{"peer.c"}},
		"one paused":         {[]PeerConfig{a, paused}, []string{"peer.b"}},
		"none":               {nil, []string{"peer.a", "peer.b"}},
	} {
		if got := setOf(plan(test.peers...)); !slices.Equal(got, test.want) {
			t.Errorf("%s: sets %v, want %v", name, got, test.want)
		}
	}
	self, unusable := c, c
	self.Onion = keys.Board.Onion()
	unusable.Onion = identity.Onion(strings.Repeat("a", 56))
	for want, p := range map[string]PeerConfig{
		`server main: peer "c" (f:1,1) has the address of this server itself`: self,
		`server main: peer "c" (f:1,1): parse onion name`:                     unusable,
	} {
		if refused := plan(a, p).Refused; len(refused) != 1 || !strings.HasPrefix(refused[0].What, want) {
			t.Errorf("refused: %+v, want %q", refused, want)
		}
	}
}

// TestTableOfHoursFollowsTheOption: a board keeps its table while clients may roam, from its start
// or from a reload on.
func TestTableOfHoursFollowsTheOption(t *testing.T) {
	m, s := newLoopbackServer(t, func() error { return nil })
	store := newStoreWith(t, "a", "b", "c")
	hasTable := func() bool {
		_, err := os.Lstat(hoursFile(s.dir))
		return err == nil
	}
	// An envelope that is older than the table has the whole log replayed.
	expectStart := func(want storage.Seq) {
		t.Helper()
		if got, err := s.board.Load().Find(t.Context(), []byte("c")); err != nil || got != want {
			t.Errorf("a replay begins at %d, %v; want %d", got, err, want)
		}
	}
	publish := func() {
		t.Helper()
		if err := m.publishOn(t.Context(), s, someLimits, store); err != nil {
			t.Fatal(err)
		}
	}
	publish()
	expectStart(3)
	if hasTable() {
		t.Error("a server whose clients stay has a table")
	}
	if m.setRoaming(s, true); !hasTable() {
		t.Error("no table after a reload")
	}
	expectStart(1)
	if err := m.withdrawServer(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	publish()
	expectStart(1)
	m.setRoaming(s, false)
	expectStart(3)
	if err := m.withdrawServer(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}
