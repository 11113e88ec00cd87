package e2e_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/onion/tornet"
)

// TestOverTor runs a conversation over a private Tor network, with the programs as
// installed: the relay runs its own tor, and so does each command of cwtch-group.
// The test kills the tor of the relay in between.
func TestOverTor(t *testing.T) {
	t.Parallel()
	network := tornet.ForTest(t)
	h := newHarness(t, `server "main" {}`)
	var torrc strings.Builder
	for _, line := range network.ClientTorrc() {
		fmt.Fprintf(&torrc, "%s,\n", strconv.Quote(line))
	}
	h.writeFile("server.hcl", `
		log { level = "debug" }
		network "tor" { torrc = [`+torrc.String()+`] }
		server "main" {}
	`)
	h.writeFile("torrc", strings.Join(network.ClientTorrc(), "\n"))
	if err := network.Seed(h.path("data", "tor")); err != nil {
		t.Fatal(err)
	}
	h.start()
	bundle, err := h.runRelay("bundle")
	if err != nil {
		t.Fatal(bundle)
	}
	alice, bob, carol := newPerson(h, network, "alice"), newPerson(h, network, "bob"), newPerson(h, network, "carol")

	alice.runGroup("import-server", strings.TrimSpace(bundle))
	alice.runGroup("create", "book club")
	invite := alice.runGroup("invite", "-with-server", "book club")
	alice.runGroup("post", "book club", "Which book?")
	bob.runGroup("join", invite)
	bob.runGroup("post", "book club", "Middlemarch.")

	h.torProcess().kill()
	h.awaitStatus("the services published again", func(st manager.Status) bool {
		n := st.Network
		published := 0
		for _, s := range n.Services {
			if s.Published {
				published++
			}
		}
		return n.Restarts == 1 && n.State == "ready" && published == 2
	})
	if strings.Contains(h.relay.log.String(), "plugin ended") {
		t.Error("the plugin did not outlive tor")
	}

	carol.runGroup("join", invite)
	carol.runGroup("post", "book club", "All of it?")
	talk := alice.runGroup("read", "book club")
	at := 0
	for _, text := range []string{"Which book?", "Middlemarch.", "All of it?"} {
		i := strings.Index(talk[at:], text)
		if i < 0 {
			t.Fatalf("Alice does not read %q in its place:\n%s", text, talk)
		}
		at += i
	}

	// Nothing outlives a relay, however it ends.
	children, err := descendants(h.relay.pid())
	if err != nil {
		t.Fatal(err)
	}
	if len(children) < 2 {
		t.Errorf("the relay has %d processes, and should have tor and a plugin", len(children))
	}
	h.relay.kill()
	for _, c := range children {
		if err := c.awaitExit(h.ctx); err != nil {
			t.Error(err)
		}
		c.close()
	}
}

// TestOverSystemTor runs a conversation through a tor of the system: the relay
// reaches it by its socket or its port, and cwtch-group by the other.
func TestOverSystemTor(t *testing.T) {
	t.Parallel()
	network := tornet.ForTest(t)
	h := newHarness(t, `server "main" {}`)
	dir, err := os.MkdirTemp("", "") // short, for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	free, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, unix, cookie := free.Addr().String(), filepath.Join(dir, "control"), filepath.Join(dir, "cookie")
	free.Close()
	network.ClientForTest(t, "ControlPort "+tcp, "ControlSocket "+unix, "CookieAuthentication 1", "CookieAuthFile "+cookie, "SocksPort 127.0.0.1:auto")
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for { // tor writes its cookie after it listens
		if _, err := os.Stat(cookie); err == nil {
			break
		}
		select {
		case <-tick.C:
		case <-h.ctx.Done():
			t.Fatal("tor does not write its cookie")
		}
	}
	h.writeFile("torrc", "") // empty: this tor is not the relay's
	byPort := []string{"-tor-control", tcp, "-tor-control-cookie", cookie}
	bySocket := []string{"-tor-control", "unix:" + unix}
	for i, settings := range []string{
		fmt.Sprintf("control = %q", "unix:"+unix),
		fmt.Sprintf("control = %q\ncontrol_cookie = %q", tcp, cookie),
	} {
		h.writeFile("server.hcl", "network \"tor\" {\n"+settings+"\n}\nserver \"main\" {}\n")
		h.start()
		bundle, err := h.runRelay("bundle")
		if err != nil {
			t.Fatal(bundle)
		}
		alice := newPerson(h, network, fmt.Sprintf("alice%d", i))
		flags := [][]string{byPort, bySocket}[i]
		alice.runGroup("import-server", strings.TrimSpace(bundle))
		alice.runGroup(append([]string{"create", "book club"}, flags...)...)
		alice.runGroup(append([]string{"post", "book club", "Which book?"}, flags...)...)
		if talk := alice.runGroup(append([]string{"read", "book club"}, flags...)...); !strings.Contains(talk, "Which book?") {
			t.Errorf("with %s: read %q", settings, talk)
		}
		h.stop()
	}
}

// torProcess returns the tor process of the relay.
func (h *harness) torProcess() *foreignProcess {
	h.Helper()
	children, err := descendants(h.relay.pid())
	if err != nil {
		h.Fatal(err)
	}
	var found *foreignProcess
	for _, c := range children {
		h.Cleanup(c.close)
		if name, _, _ := strings.Cut(c.name, " "); filepath.Base(name) == "tor" {
			found = c
		}
	}
	if found == nil {
		h.Fatalf("the relay has no tor process")
	}
	return found
}

// testPerson is a person with a profile of cwtch-group.
type testPerson struct {
	*harness
	env []string
}

func newPerson(h *harness, network *tornet.Network, name string) testPerson {
	h.Helper()
	profile := h.path(name)
	if err := os.Mkdir(profile, 0o700); err != nil {
		h.Fatal(err)
	}
	if err := network.Seed(filepath.Join(profile, "tor")); err != nil {
		h.Fatal(err)
	}
	p := testPerson{h, append(slices.Clip(h.env), "CWTCH_GROUP_PROFILE="+profile, "CWTCH_GROUP_TORRC="+h.path("torrc"))}
	p.runGroup("init")
	return p
}

// runGroup runs a command of cwtch-group and returns its output.
func (p testPerson) runGroup(args ...string) string {
	p.Helper()
	cmd := exec.CommandContext(p.ctx, filepath.Join(bin, "cwtch-group"), args...)
	cmd.Env = p.env
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		p.Fatalf("cwtch-group %q: %v\n%s", args, err, said.String())
	}
	return strings.TrimSpace(string(out))
}

// TestDemo runs what "make demo" does.
func TestDemo(t *testing.T) {
	checkDemo(t, []string{"-config", "../../examples/quickstart/server.hcl"},
		"alice$ cwtch-group create", "carol$ cwtch-group read")
}

// TestClusterDemo runs what "make cluster-demo" does.
func TestClusterDemo(t *testing.T) {
	checkDemo(t, []string{"-cluster"}, "the three boards has everything", "half took at most", "all links of carol are paused",
		"Only Bob's is left.", "bob$ cwtch-group read")
}

// checkDemo runs a demonstration, which checks itself, and looks for some lines of it.
func checkDemo(t *testing.T, args []string, lines ...string) {
	t.Helper()
	if _, err := exec.LookPath("tor"); err != nil {
		tornet.ForTest(t) // says what is missing
	}
	p, err := start(exec.Command(filepath.Join(bin, "cwtch-demo"), append([]string{"-bin", bin}, args...)...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	status, err := p.wait()
	if err != nil {
		t.Fatal(err)
	}
	out := p.stdout.String()
	if status != 0 {
		t.Errorf("exit status %d\n%s\n%s", status, out, p.log.String())
	}
	for _, want := range append(lines, "Nothing is left running.") {
		if !strings.Contains(out, want) {
			t.Errorf("it does not show %q:\n%s", want, out)
		}
	}
	if err := checkNoProcessLeft(); err != nil {
		t.Error(err)
	}
}
