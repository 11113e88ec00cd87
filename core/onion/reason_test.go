package onion

import (
	"context"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestReasonToEnd gives lines as tor 0.4.9.11 has printed them, and others.
func TestReasonToEnd(t *testing.T) {
	const end = "Nov 28 11:53:45.198 [err] Reading config failed--see warnings above.\n"
	advice := "Nov 28 11:53:45.198 [warn] You are running Tor as root. You don't need to, and you probably shouldn't.\n" +
		"Nov 28 11:53:45.198 [warn] TestingTorNetwork is set. This will make your node almost unusable in the public Tor network, and …\n"
	for name, c := range map[string]struct{ lines, want string }{
		"nothing":                     {"", ""},
		"only advice":                 {advice, ""},
		"a warning that ends nothing": {"Nov 28 11:53:45.198 [warn] Country code 'zz' is not recognized.\n", ""},
		"a reason of its own": {advice +
			"Nov 28 11:53:45.198 [warn] Failed to parse/validate config: Unknown option 'Foo'.  Failing.\n" + end,
			"Unknown option 'Foo'.  Failing."},
		"a reason of its own behind other warnings": {
			"Nov 28 11:53:45.198 [warn] Something else.\nNov 28 11:53:45.198 [warn] Failed to parse/validate config: HTTPSProxy failed to parse or resolve. Please fix.\n" + end,
			"HTTPSProxy failed to parse or resolve. Please fix."},
		"the reason before": {
			"Nov 28 11:53:45.381 [warn] SocksPort, TransPort, NATDPort, DNSPort, and ORPort are all undefined, and …\n" +
				"Nov 28 11:53:45.382 [warn] Directory /nonexistent/x does not exist.\n" +
				"Nov 28 11:53:45.382 [warn] Failed to parse/validate config: Failed to configure client authorization for hidden services. See logs for details.\n" + end,
			"Directory /nonexistent/x does not exist."},
		"two before": {
			"Nov 28 11:54:13.890 [warn] Expected 'accept' or 'reject'.\nNov 28 11:54:13.890 [warn] Malformed policy 'x:y:z'. Discarding entire policy list.\n" +
				"Nov 28 11:54:13.890 [warn] Failed to parse/validate config: Error in ReachableAddresses entry.\n" + end,
			"Expected 'accept' or 'reject'.; Malformed policy 'x:y:z'. Discarding entire policy list."},
		"a port in use": {
			"Nov 28 11:54:13.890 [warn] Could not bind to 127.0.0.1:9050: Address already in use. Is Tor already running?\n" +
				"Nov 28 11:54:13.890 [warn] Failed to parse/validate config: Failed to bind one of the listener ports.\n" + end,
			"Could not bind to 127.0.0.1:9050: Address already in use. Is Tor already running?"},
		"a directory of a service": {
			"Nov 28 11:54:13.000 [warn] Error creating directory /nonexistent/a/b: No such file or directory\nNov 28 11:54:13.000 [warn] Error loading rendezvous service keys\n" +
				"Nov 28 11:54:13.000 [err] set_options(): Bug: Acting on config options left us in a broken state. Dying. (on Tor 0.4.9.11 )\n" + end,
			"Error creating directory /nonexistent/a/b: No such file or directory; Error loading rendezvous service keys"},
		"another tor": {
			"Nov 28 11:54:13.000 [warn] It looks like another Tor process is running with the same data directory.  Waiting 5 seconds to see if it goes away.\n" +
				"Nov 28 11:54:18.000 [err] No, it's still there.  Exiting.\n" + end,
			"It looks like another Tor process is running with the same data directory.  Waiting 5 seconds to see if it goes away."},
		"an error later": {
			"Nov 28 11:54:13.000 [warn] Something else.\nNov 28 11:54:18.000 [err] Unable to make circuit.\nNov 28 11:54:18.000 [err] Out of memory on malloc(). Dying.\n",
			"Out of memory on malloc(). Dying."},
		"nothing but that it failed": {end, "Reading config failed--see warnings above."},
		"the loader": {"/usr/bin/tor: error while loading shared libraries: libevent-2.1.so.7: cannot open shared object file\n",
			"/usr/bin/tor: error while loading shared libraries: libevent-2.1.so.7: cannot open shared object file"},
		"the launcher": {`{"@level":"error","@message":"sandbox: execute /usr/bin/tor: permission denied"}` + "\n", "sandbox: execute /usr/bin/tor: permission denied"},
		"a crash": {"\n============================================================ T= 1700000000\nTor 0.4.9.11 died: Caught signal 11\n/usr/bin/tor(+0x1f)[0x55]\n",
			"Tor 0.4.9.11 died: Caught signal 11"},
	} {
		l := &torLog{log: slog.New(slog.DiscardHandler)}
		l.Write([]byte(c.lines))
		want := c.want
		if want != "" {
			want = "; it said: " + want
		}
		if got := l.lastWarning(); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestRefusedTorrc starts tor with lines that it refuses, each of which has to be in the
// error. It does not get as far as a network: there is an authority that nobody runs.
func TestRefusedTorrc(t *testing.T) {
	if _, err := exec.LookPath("tor"); err != nil {
		t.Skip("tor is not installed: apt-get install --no-install-recommends tor")
	}
	const key = " 0123456789012345678901234567890123456789"
	private := []string{"TestingTorNetwork 1", "DirAuthority t orport=1 no-v2 v3ident=" + key[1:] + " 127.0.0.1:1" + key, "ClientOnly 1"}
	for line, want := range map[string]string{
		"Foo 1":                              "Unknown option 'Foo'",
		"Nickname a b!":                      "Nickname 'a b!'",
		"HTTPSProxy nonsense":                "HTTPSProxy failed to parse",
		"Socks5Proxy 1.2.3.4.5":              "Socks5Proxy failed to parse",
		"ClientOnionAuthDir /nonexistent/x":  "Directory /nonexistent/x does not exist",
		"ClientTransportPlugin x":            "Too few arguments on ClientTransportPlugin line",
		"NumCPUs x":                          "Could not parse NumCPUs",
		"CircuitBuildTimeout x":              "Could not parse CircuitBuildTimeout",
		"ReachableAddresses x:y:z":           "Malformed policy 'x:y:z'",
		"HiddenServicePort 80":               "HiddenServicePort with no preceding HiddenServiceDir",
		"CacheDirectory /proc/nonexistent/x": `"/proc/nonexistent/x"`,
		"KeyDirectory /proc/nonexistent/x":   `"/proc/nonexistent/x"`,
		"DNSPort 1.1.1.1.1":                  `Couldn't parse address "1.1.1.1.1" for DNSPort`,
		"TransPort x":                        `Couldn't parse address "x" for TransPort`,
		"OutboundBindAddress 300.1.1.1":      "300.1.1.1",
		"MaxCircuitDirtiness 1 fortnight":    "MaxCircuitDirtiness",
		"EntryNodes {{{":                     "EntryNodes",
		"LearnCircuitBuildTimeout maybe":     "LearnCircuitBuildTimeout",
		"ConnLimit 0":                        "ConnLimit",
		"Schedulers None":                    "Schedulers",
		"VirtualAddrNetworkIPv4 x":           "VirtualAddressNetwork",
	} {
		t.Run(line, func(t *testing.T) {
			config := TorConfig{DataDir: filepath.Join(t.TempDir(), "tor"), Torrc: append(private[:3:3], line), Logger: testLogger(t)}
			tor, err := startTor(within(t, watchdog), config, impatient)
			if err == nil {
				tor.Close()
				t.Skip("this tor takes it")
			}
			_, said, _ := strings.Cut(err.Error(), "; it said: ")
			if !strings.Contains(said, want) || strings.Contains(said, "see warnings above") || strings.Contains(said, "as root") {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}

// A start that is given up says nothing of what tor has warned of in passing.
func TestNoReasonForAnotherEnd(t *testing.T) {
	if _, err := exec.LookPath("tor"); err != nil {
		t.Skip("tor is not installed: apt-get install --no-install-recommends tor")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	const key = "0123456789012345678901234567890123456789"
	config := TorConfig{DataDir: filepath.Join(t.TempDir(), "tor"), Logger: testLogger(t),
		Torrc: []string{"TestingTorNetwork 1", "DirAuthority t orport=1 no-v2 v3ident=" + key + " 127.0.0.1:1 " + key}}
	if _, err := startTor(ctx, config, impatient); err == nil || strings.Contains(err.Error(), "it said") {
		t.Errorf("got %v", err)
	}
}
