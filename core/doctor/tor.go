package doctor

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/onion"
)

// oldestTor is the oldest version with a defence against floods of introductions.
var oldestTor = [3]int{0, 4, 8}

const upgradeTor = "install tor 0.4.8 or later: apt-get install tor, or for an old system see https://support.torproject.org/apt"

// versionNumber matches the version in what tor says of itself.
var versionNumber = regexp.MustCompile(`\b(\d{1,4})\.(\d{1,4})\.(\d{1,4})(?:\.\d{1,4})?[-\w.]{0,40}`)

// FindTor looks for the tor program that a relay would start, and asks it for its version.
func FindTor(ctx context.Context, program string) Check {
	path, err := exec.LookPath(program)
	if err != nil {
		return failed("tor", fmt.Sprintf("there is no tor: %v", err), "install it (apt-get install tor); it need not run as a service")
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return failed("tor", fmt.Sprintf("%s cannot be started: %v", path, err), "install tor again (apt-get install --reinstall tor)")
	}
	version := versionNumber.FindString(string(out[:min(len(out), 1<<10)]))
	c := checkVersion(strings.TrimRight(version, "."), "")
	if c.OK {
		c.Text = path + " is " + c.Text
	}
	return c
}

// checkVersion judges a version of tor by what the directories say of it, and by what this
// relay needs.
func checkVersion(version, advice string) Check {
	if m := versionNumber.FindStringSubmatch(version); m == nil {
		return failed("tor version", fmt.Sprintf("%.40q is not the version of a tor", version), upgradeTor)
	} else if isOlder(m[1:4], oldestTor) {
		return failed("tor version", fmt.Sprintf("tor %s has no defence against floods of introductions", version), upgradeTor)
	}
	switch advice {
	case "obsolete", "old", "unrecommended":
		return failed("tor version", fmt.Sprintf("the directories of Tor call version %s %s", version, advice), "upgrade tor: apt-get update && apt-get install tor")
	case "recommended":
		return passed("tor version", "tor "+version+", which the directories recommend")
	}
	return passed("tor version", "tor "+version)
}

func isOlder(version []string, than [3]int) bool {
	for i, text := range version {
		n, _ := strconv.Atoi(text) // has digits only, and not many
		if n != than[i] {
			return n < than[i]
		}
	}
	return false
}

// CheckNetwork asks the network of a running relay how it is. ready is false if there is no
// use in trying to reach anything. consensus is for [Machine].
func CheckNetwork(ctx context.Context, n onion.Network) (checks []Check, consensus onion.Examination, ready bool) {
	st := n.Status()
	if st.Network == "loopback" {
		return []Check{passed("network", "loopback, for development: it hides nothing, and nobody outside this machine can reach the servers")}, consensus, st.State == onion.Ready
	}
	checks = append(checks, checkState(st))
	if !checks[0].OK {
		return checks, consensus, false
	}
	consensus, err := n.Examine(ctx)
	if err != nil {
		return []Check{failed("tor", err.Error(), "try again in a minute; see the log of the relay")}, consensus, false
	}
	return append(checks, checkVersion(st.Version, consensus.Advice)), consensus, true
}

// NetworkNotOpen is the check of a network that is not open yet, for a reason if one is known.
func NetworkNotOpen(reason string) Check {
	if reason != "" {
		return failed("network", "it could not be opened: "+reason, "mend that; the relay tries again by itself, and at once after cwtch-relay reload")
	}
	return failed("network", "it is not open yet", "wait; see the status for what keeps the servers")
}

// checkState says whether Tor is up, which does not mean that anybody can be reached.
func checkState(st onion.Status) Check {
	const unreached = "; nobody can reach the servers, and that was not tried"
	switch st.State {
	case onion.Ready:
		return passed("tor", fmt.Sprintf("Tor is up since %s", formatTime(st.Since)))
	case onion.Starting, onion.Bootstrapping:
		return failed("tor", fmt.Sprintf("Tor is not up yet: bootstrap is at %d %% (%s)%s", st.Progress, orNothing(st.Summary), unreached),
			"wait; if the number stays, look at the clock, at the connection to the Internet and at its firewall, or use bridges (torrc)")
	case onion.Offline:
		return failed("tor", "Tor is not up: it runs, and its circuits fail"+unreached, "look at the connection to the Internet; tor tries again by itself")
	case onion.Backoff:
		return failed("tor", fmt.Sprintf("Tor is not up: %s%s", orNothing(st.Summary), unreached), "the relay starts it again by itself; if that goes on, see the log of the relay")
	}
	return failed("tor", "Tor is not up: the relay is ending"+unreached, "start the relay")
}

func orNothing(text string) string {
	if text == "" {
		return "tor says nothing more"
	}
	return text
}

// CheckRunningTor connects for a moment to a tor that somebody else runs, and looks at it as
// [CheckNetwork] does. It is for a relay that does not run.
func CheckRunningTor(ctx context.Context, config onion.TorConfig) Check {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	n, err := onion.StartTor(ctx, config)
	if err != nil {
		return failed("tor", strings.Join(strings.Fields(err.Error()), " "), "start that tor, or let the relay use it as the text says")
	}
	defer n.Close()
	return checkVersion(n.Status().Version, "")
}
