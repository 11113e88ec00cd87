package e2e_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

// TestPromise6StartsMayFail has a plugin that was ready come back as a process
// that does not shake hands as it should. Its server refuses posts and the status
// says why, the relay and its other server do not notice, and when the plugin
// does it right again all is well.
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
			h := newBadHouse(t)
			for i, f := range faults {
				begin := len(h.relay.log.String())
				h.write(badStart, f.how)
				h.plugin().kill()
				if i == 0 { // it takes its time
					h.refused()
					os.Remove(h.path(badStart)) // before the next start, which takes as long
					h.untilLastError(f.reason)
				}
				h.undisturbed()
				if _, err := h.relay.log.awaitFrom(begin, `msg="plugin ended; it is started again" server=bad .*`+f.reason); err != nil {
					t.Error(err)
				}
				h.startAsItShould()
				h.recovered()
			}
			h.stop()
		})
	}
}

// startFault is what the plugin does wrong, and what the relay says then.
type startFault struct{ how, reason string }

func (h *badHouse) untilLastError(reason string) {
	h.Helper()
	re := regexp.MustCompile(reason)
	h.until("the last error "+reason, func(st manager.Status) bool { return re.MatchString(st.Servers[0].Storage.LastError) })
}

// startAsItShould has the plugin do it right, and the relay try it at once. By
// itself it tries after a while, and not for ever.
func (h *badHouse) startAsItShould() {
	h.Helper()
	os.Remove(h.path(badStart))
	if out, err := h.run("reload"); err != nil {
		h.Errorf("%v\n%s", err, out)
	}
}
