package manager

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

// A reload names every plugin that does not run in the end, whatever its state and its
// steps, and counts it once.
func TestReloadNamesPluginsThatAreDown(t *testing.T) {
	m := newManagerWith(t, Config{Servers: []ServerConfig{{
		Name: "main", Storage: brokenPlugin(t, plugin.KindStorage, "bolt", nil),
		Others: []PluginConfig{brokenPlugin(t, plugin.KindStats, "a", nil), brokenPlugin(t, plugin.KindStats, "b", nil)},
	}}})
	m.closing = t.Context()
	plan := &Plan{Applied: true, Steps: []Step{
		{Action: ActionRetry, Server: "main", Plugin: "stats/a", Error: "it failed"},
		{Action: ActionReconfigure, Server: "main", Plugin: "stats/b", Done: true},
	}}
	m.addDownPlugins(plan)
	var got []string
	for _, d := range plan.Down {
		if d.State != supervise.Failed || !strings.Contains(d.Error, "there is no program") {
			t.Errorf("%s is %s because of %q", d.Plugin, d.State, d.Error)
		}
		got = append(got, d.Server+" "+d.Plugin)
	}
	if want := "[main storage/bolt main stats/b]"; fmt.Sprint(got) != want {
		t.Errorf("down are %v, want %s", got, want)
	}
	if n := plan.Failed(); n != 3 {
		t.Errorf("%d failed, want 3", n)
	}
}

// The plugins of a server that a reload starts are steps of their own, which fail by
// themselves.
func TestPluginOfNewServerIsAStep(t *testing.T) {
	m := newManagerWith(t, Config{})
	m.closing = t.Context()
	stats := brokenPlugin(t, plugin.KindStats, "a", nil)
	next := m.cfg
	next.Servers = []ServerConfig{{Name: "new", Storage: brokenPlugin(t, plugin.KindStorage, "bolt", nil), Others: []PluginConfig{stats}}}
	plan := m.makePlan(next)
	step := plan.Steps[len(plan.Steps)-1]
	if step.String() != "start stats/a of server new" {
		t.Fatalf("the last step is %s", step)
	}
	if err := step.do(t.Context()); err == nil || !strings.Contains(err.Error(), "server new was not started") {
		t.Errorf("without the server: %v", err)
	}
}

// A plugin that the file cannot have as it is fails again at a reload, with the fault of
// the file, and takes nothing else with it.
func TestReloadRetriesPluginWithFault(t *testing.T) {
	c := brokenPlugin(t, plugin.KindStats, "a", nil)
	m := newManagerWith(t, Config{Servers: []ServerConfig{{Name: "main", Storage: brokenPlugin(t, plugin.KindStorage, "bolt", nil), Others: []PluginConfig{c}}}})
	c.Command, c.Fault = nil, errors.New("its file is gone")
	s := m.servers[0]
	err := m.reconfigurePlugin(t.Context(), s, s.others[0], c)
	if err == nil || !strings.Contains(err.Error(), "its file is gone") {
		t.Errorf("got %v", err)
	}
}

// A step is taken again if a later step frees the address that it needs. Other failed
// steps are not.
func TestStepIsTakenAgainWhenItsAddressIsFree(t *testing.T) {
	m := newManagerWith(t, Config{})
	m.closing = t.Context()
	_, elsewhere := pluginproc.Listen(t.Context(), plugin.ListenAddress{Address: "0.0.0.0:9464", Path: []string{"listen"}}, false)
	if !isListenError(&PluginError{"main", "stats/a", fmt.Errorf("listen: %w", addressInUse(t))}) || isListenError(elsewhere) {
		t.Fatal("an address that is taken is not told from one that is wrong")
	}
	owner, tries := map[string]string{"x": "b", "y": "c"}, make(map[string]int)
	move := func(who, to string) func(context.Context) error {
		return func(context.Context) error {
			tries[who]++
			if by := owner[to]; by != "" && by != who {
				return addressInUse(t)
			}
			for address, by := range owner {
				if by == who {
					owner[address] = ""
				}
			}
			owner[to] = who
			return nil
		}
	}
	wrong := errors.New("wrong")
	plan := &Plan{Steps: []Step{
		{Server: "a", do: move("a", "x")}, {Server: "b", do: move("b", "y")}, {Server: "c", do: move("c", "z")},
		{Server: "d", do: func(context.Context) error { tries["d"]++; return wrong }},
		{Server: "e", do: move("e", "z")}, // is c's for good
	}}
	for i := range plan.Steps {
		m.applyStep(&plan.Steps[i], m.cfg, "reload")
	}
	m.retryListening(plan, m.cfg)
	for i, want := range []bool{true, true, true, false, false} {
		if s := plan.Steps[i]; s.Done != want || (s.Error == "") != want {
			t.Errorf("step %s is done: %v, with the error %q", s.Server, s.Done, s.Error)
		}
	}
	if tries["d"] != 1 || tries["e"] < 2 || tries["e"] > 4 {
		t.Errorf("the steps were tried so often: %v", tries)
	}
}

// addressInUse returns the error of listening at an address that is taken.
func addressInUse(t *testing.T) error {
	t.Helper()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_, err = pluginproc.Listen(t.Context(), plugin.ListenAddress{Address: other.Addr().String(), Path: []string{"listen"}}, false)
	return err
}
