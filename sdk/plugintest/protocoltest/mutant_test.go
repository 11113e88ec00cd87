package protocoltest_test

import (
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest/protocoltest"
)

// TestMain makes this binary the plugins of the tests. Its arguments are the kind, and the fault
// or "sdk" for a plugin that package plugin serves.
func TestMain(m *testing.M) {
	if os.Getenv("CWTCH_RELAY_PLUGIN") == "" {
		flag.Parse()
		flag.Set("test.parallel", "4") // mutants mostly wait
		os.Exit(m.Run())
	}
	kind, fault := os.Args[1], os.Args[2]
	if fault == "sdk" {
		plugin.Serve(innerPlugin(kind, ""))
		return
	}
	if err := serveMutant(kind, fault); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// mutants are plugins with a fault, and the checks that must fail for it. No other may fail.
var mutants = []struct{ kind, fault, checks string }{
	{"storage", "sdk", ""},
	{"stats", "sdk", ""},
	{"peersync", "sdk", ""},
	{"storage", "none", ""},
	{"stats", "none", ""},
	{"peersync", "none", ""},
	{"storage", "socket", "ProtocolSocket"},
	{"storage", "certificate begins now", "ProtocolCertificate"},
	{"storage", "certificate ends", "ProtocolCertificate"},
	{"storage", "client without", "ProtocolClient"},
	{"storage", "client with any", "ProtocolClient"},
	{"storage", "stdout", "ProtocolStdout"},
	{"storage", "versions", "ProtocolVersions"},
	{"storage", "signals", "ProtocolSignals"},
	{"storage", "umask", "ProtocolFiles"},
	{"storage", "file mode", "ProtocolFiles"},
	{"storage", "describes anew", "ProtocolAsked"},
	{"storage", "validates late", "ProtocolAsked"},
	{"storage", "validates all", "ProtocolValidate ProtocolInvalid"},
	{"storage", "requests", "ProtocolRequests"},
	{"stats", "requests", "ProtocolRequests"},
	{"storage", "diagnosed elsewhere", "ProtocolInvalid"},
	{"storage", "refused", "ProtocolRefused"},
	{"storage", "same", "ProtocolSame"},
	{"peersync", "same", "ProtocolSame"},
	{"storage", "other", "ProtocolOther"},
	{"stats", "other", "ProtocolOther"},
	{"peersync", "other", "ProtocolOther ProtocolOtherWaits"},
	{"storage", "other hasty", "ProtocolOtherWaits"},
	{"peersync", "other hasty", "ProtocolOtherWaits"},
	{"storage", "failed", "ProtocolFailed"},
	{"storage", "takes all", "ProtocolMalformed"},
	{"storage", "takes any range", "ProtocolMalformed"},
	{"storage", "logs", "ProtocolLog"},
	{"storage", "health", "ProtocolHealth"},
	{"storage", "busy", "ProtocolHealthBusy"},
	{"stats", "busy", "ProtocolHealthBusy"},
	{"storage", "eight", "ProtocolEight"},
	{"storage", "drain open", "ProtocolDrain"},
	{"storage", "drain hasty", "ProtocolDrainWaits"},
	{"peersync", "drain hasty", "ProtocolDrainWaits"},
	{"storage", "shutdown", "ProtocolShutdown"},
	{"storage", "status", "ProtocolEnd"},
	{"storage", "stays", "ProtocolEnd"},
	{"storage", "lifeline", "ProtocolLifeline"},
	{"stats", "listener", "ProtocolListeners"},
	{ // everything that a suite of calls does not see is wrong
		"storage", "client without+stdout+signals+umask+file mode+requests+validates all+other+health+drain open+shutdown+stays+lifeline",
		"ProtocolClient ProtocolStdout ProtocolSignals ProtocolFiles ProtocolRequests ProtocolValidate ProtocolInvalid ProtocolOther " +
			"ProtocolHealth ProtocolDrain ProtocolShutdown ProtocolEnd ProtocolLifeline",
	},
}

func TestEveryCheckFailsForItsFaultOnly(t *testing.T) {
	found := make(map[string]bool)
	for _, m := range mutants {
		want := strings.Fields(m.checks)
		for _, name := range want {
			found[name] = true
		}
		t.Run(m.kind+" "+m.fault, func(t *testing.T) {
			if raceEnabled && m.checks != "" && !strings.Contains(m.fault, "+") {
				t.Skip("with the race detector each check passes three kinds of plugins and fails for the last one; make test tries all without it")
			}
			t.Parallel()
			opener := protocoltest.Opener{
				Command: func(string) (pluginproc.Command, error) {
					return pluginproc.Command{Path: "/proc/self/exe", Args: []string{m.kind, m.fault}}, nil
				},
				Invalid: map[string]any{"pages": 3},
			}
			if m.kind == "stats" {
				opener.Config = map[string]any{"listen": freeAddress(t)}
			}
			checks := protocoltest.Checks(opener)
			if m.fault == "socket" { // calls of such a plugin may fail
				checks = checks[:1]
			}
			var failed []string
			plugintest.Evaluate(t.Context(), checks, func(r plugintest.Result) {
				if r.Verdict == plugintest.Failed {
					failed = append(failed, r.Check.Name)
					t.Logf("%s: %q\n%q", r.Check.Name, r.Output, r.Logged)
				}
				if r.Verdict == plugintest.Skipped && slices.Contains(want, r.Check.Name) {
					t.Errorf("%s was skipped: %q", r.Check.Name, r.Output)
				}
			})
			if !slices.Equal(failed, want) {
				t.Errorf("failed %q, want %q", failed, want)
			}
		})
	}
	for _, c := range protocoltest.Checks(protocoltest.Opener{}) {
		if !found[c.Name] {
			t.Errorf("no mutant breaks %s", c.Name)
		}
	}
}

// freeAddress returns an address at which nothing listens.
func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
