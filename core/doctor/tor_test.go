package doctor

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/onion"
)

func TestFindTor(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		script string // "" is no program
		ok     bool
		want   string
	}{
		"missing": {"", false, "there is no tor"},
		"new":     {"echo 'Tor version 0.4.9.11.'\necho 'Tor is running on Linux'", true, "is tor 0.4.9.11"},
		"dev":     {"echo 'Tor version 0.5.0.1-alpha-dev (git-0123456789abcdef).'", true, "is tor 0.5.0.1-alpha-dev"},
		"old":     {"echo 'Tor version 0.4.7.16.'", false, "tor 0.4.7.16 has no defence"},
		"other":   {"echo hello", false, "is not the version of a tor"},
		"broken":  {"exit 3", false, "cannot be started: exit status 3"},
		"endless": {"head -c 100000 /dev/zero", false, "is not the version of a tor"},
	} {
		path := filepath.Join(dir, name)
		if c.script != "" {
			if err := os.WriteFile(path, []byte("#!/bin/sh\n"+c.script+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		got := FindTor(t.Context(), path)
		if got.OK != c.ok || !strings.Contains(got.Text, c.want) || got.OK != (got.Do == "") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if _, err := exec.LookPath("tor"); err == nil {
		if c := FindTor(t.Context(), "tor"); !c.OK {
			t.Errorf("the tor of this machine: %+v", c)
		}
	}
}

func TestVersions(t *testing.T) {
	for version, ok := range map[string]bool{
		"0.4.8": true, "0.4.8.10": true, "0.4.9.11": true, "0.5.0.0-alpha": true, "1.0.0": true,
		"0.4.7.16": false, "0.3.99": false, "": false, "x": false,
	} {
		if c := checkVersion(version, ""); c.OK != ok {
			t.Errorf("%q: %+v", version, c)
		}
	}
	for advice, ok := range map[string]bool{"recommended": true, "new": true, "unknown": true, "obsolete": false, "old": false, "unrecommended": false} {
		if c := checkVersion("0.4.9.11", advice); c.OK != ok {
			t.Errorf("%s: %+v", advice, c)
		}
	}
}

// fakeNetwork has a status and an examination.
type fakeNetwork struct {
	onion.Network
	status onion.Status
	advice string
	err    error
}

func (n fakeNetwork) Status() onion.Status { return n.status }
func (n fakeNetwork) Examine(context.Context) (onion.Examination, error) {
	return onion.Examination{Advice: n.advice}, n.err
}

// Whatever is wrong with Tor is one line, and only a network that is ready may be used.
func TestNetwork(t *testing.T) {
	for name, c := range map[string]struct {
		n     fakeNetwork
		ready bool
		want  string // of what is wrong
	}{
		"up":            {fakeNetwork{status: onion.Status{State: onion.Ready, Version: "0.4.9.11"}}, true, ""},
		"old":           {fakeNetwork{status: onion.Status{State: onion.Ready, Version: "0.4.7.16"}}, true, "no defence"},
		"obsolete":      {fakeNetwork{status: onion.Status{State: onion.Ready, Version: "0.4.9.1"}, advice: "obsolete"}, true, "call version 0.4.9.1 obsolete"},
		"bootstrapping": {fakeNetwork{status: onion.Status{State: onion.Bootstrapping, Progress: 45, Summary: "Asking"}}, false, "Tor is not up yet: bootstrap is at 45 % (Asking)"},
		"offline":       {fakeNetwork{status: onion.Status{State: onion.Offline}}, false, "its circuits fail"},
		"killed":        {fakeNetwork{status: onion.Status{State: onion.Backoff, Summary: "tor has ended (signal: killed)"}}, false, "Tor is not up: tor has ended (signal: killed)"},
		"closed":        {fakeNetwork{status: onion.Status{State: onion.Closed}}, false, "is ending"},
		"silent":        {fakeNetwork{status: onion.Status{State: onion.Ready, Version: "0.4.9.11"}, err: errors.New("no answer")}, false, "no answer"},
		"loopback":      {fakeNetwork{status: onion.Status{Network: "loopback", State: onion.Ready}}, true, ""},
	} {
		checks, _, ready := CheckNetwork(t.Context(), c.n)
		wrong := wrongOnes(checks)
		if ready != c.ready || len(checks) == 0 {
			t.Errorf("%s: ready is %t, checks %+v", name, ready, checks)
		}
		if c.want == "" && len(wrong) > 0 || c.want != "" && (len(wrong) != 1 || !strings.Contains(wrong[0].Text, c.want) || wrong[0].Do == "") {
			t.Errorf("%s: %+v, want %q", name, wrong, c.want)
		}
		if name == "loopback" && !strings.Contains(checks[0].Text, "nobody outside this machine") {
			t.Errorf("the loopback network does not say what it is: %+v", checks)
		}
	}
}

// A tor that somebody else should run and does not is found without a relay.
func TestRunningTorIsMissing(t *testing.T) {
	c := CheckRunningTor(t.Context(), onion.TorConfig{Control: "unix:" + filepath.Join(t.TempDir(), "control")})
	if c.OK || !strings.Contains(c.Text, "is it running") {
		t.Errorf("%+v", c)
	}
}
