package e2e_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

// TestPromise6StartsMayFail restarts a plugin that then gets its handshake wrong.
// Its server refuses posts and the status says why. The relay and the other server
// do not notice. Once the handshake is right again, all is well.
func TestPromise6StartsMayFail(t *testing.T) {
	t.Parallel()
	for _, faults := range [][]startFault{
		{{"slow", "no handshake within 10s"}},
		{{"deaf", "no handshake within 10s; its line has come, and nobody answers at the socket"}},
		{{"unfinished", `no handshake within 10s; it has written \\?"1\|1\|unix\|.* without a line feed`}},
		{
			{"garbage", `printed \\?"hello \[2J\\?" in place of its handshake line`},
			{"endless", `wrote \d+ bytes and no line feed in place of its handshake line`},
			{"protocol", "begins its handshake line with 2"},
			{"version", "chose version 99 of the framing"},
			{"netrpc", `speaks \\?"netrpc\\?" by its handshake line`},
			{"tcp", `listens on \\"tcp\\" \\"127.0.0.1:9\\", not on a unix socket in its directory`},
			{"elsewhere", `listens on \\"unix\\" \\"/tmp/elsewhere.sock\\", not on a unix socket in its directory`},
			{"certificate", "has no certificate in DER in its handshake line"},
			{"plain", "has no certificate in its handshake line"},
		},
	} {
		t.Run(faults[0].how, func(t *testing.T) {
			t.Parallel()
			h := newBadStoreHarness(t)
			for i, f := range faults {
				begin := len(h.relay.log.String())
				h.writeFile(badStart, f.how)
				h.storagePlugin().kill()
				if i == 0 { // this one takes until its timeout
					h.expectRefused()
					os.Remove(h.path(badStart)) // before the next start, which takes as long
					h.awaitLastError(f.reason)
				}
				h.checkGoodServer()
				if _, err := h.relay.log.awaitFrom(begin, `msg="plugin ended; it is started again" server=bad .*`+f.reason); err != nil {
					t.Error(err)
				}
				h.startCorrectly()
				h.awaitRecovery()
			}
			h.stop()
		})
	}
}

// startFault pairs what the plugin does wrong with what the relay reports.
type startFault struct{ how, reason string }

func (h *badStoreHarness) awaitLastError(reason string) {
	h.Helper()
	re := regexp.MustCompile(reason)
	h.awaitStatus("the last error "+reason, func(st manager.Status) bool { return re.MatchString(st.Servers[0].Storage.LastError) })
}

// startCorrectly lets the plugin behave and makes the relay start it at once. By
// itself the relay would wait, and would stop trying in the end.
func (h *badStoreHarness) startCorrectly() {
	h.Helper()
	os.Remove(h.path(badStart))
	if out, err := h.runRelay("reload"); err != nil {
		h.Errorf("%v\n%s", err, out)
	}
}
