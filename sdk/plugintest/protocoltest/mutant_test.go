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

// The plugins of these tests are this binary. Its arguments are the kind and what is
// wrong with it, or "sdk" for a plugin by way of package plugin.
func TestMain(m *testing.M) {
	if os.Getenv("CWTCH_RELAY_PLUGIN") == "" {
		flag.Parse()
		flag.Set("test.parallel", "4") // mutants wait for most of their time
		os.Exit(m.Run())
	}
	kind, fault := os.Args[1], os.Args[2]
	if fault == "sdk" {
		plugin.Serve(mutantOf(kind, ""))
		return
	}
	if err := serveMutant(kind, fault); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// mutants are faults, by the kind and the check that must find them, alone; a few
// break two sentences.
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
	{ // one that does nothing right that a suite of calls does not see
		"storage", "client without+stdout+signals+umask+file mode+requests+validates all+other+health+drain open+shutdown+stays+lifeline",
		"ProtocolClient ProtocolStdout ProtocolSignals ProtocolFiles ProtocolRequests ProtocolValidate ProtocolInvalid ProtocolOther " +
			"ProtocolHealth ProtocolDrain ProtocolShutdown ProtocolEnd ProtocolLifeline",
	},
}

// TestEveryCheckFindsItsMutant: a plugin with one fault fails the check that is there
// for it, and no other; one without passes all.
func TestEveryCheckFindsItsMutant(t *testing.T) {
	found := make(map[string]bool)
	for _, m := range mutants {
		want := strings.Fields(m.checks)
		for _, name := range want {
			found[name] = true
		}
		t.Run(m.kind+" "+m.fault, func(t *testing.T) {
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
			if m.fault == "socket" { // no call of such a plugin is sure
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
			t.Errorf("no mutant is for %s", c.Name)
		}
	}
}

// freeAddress is one at which nobody listens.
func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
