package onion

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cretz/bine/control"

	"github.com/cwtch-relay/cwtch-relay/core/onion/tornet"
)

// oddNames are names that a directory may have on Linux.
var oddNames = map[string]string{
	"accents":          "café",
	"spaces":           " two  spaces ",
	"quotes":           `it's a "name"`,
	"backslashes":      `back\slash\`,
	"hash":             "a#b",
	"controls":         "tab\there\nnewline\x1b[31m",
	"invalid UTF-8":    "caf\xe9\xff",
	"separate accents": "cafe\u0301",
	"expansions":       "~$HOME%h${x}`id`",
	"patterns":         "[a*?",
	"dash":             "-f",
	"right to left":    "\u202eabc",
}

// TestOddDirectories runs a tor of our own, and reaches one of somebody else by a cookie, in
// directories of all kinds of names.
func TestOddDirectories(t *testing.T) {
	network := tornet.ForTest(t)
	for what, name := range oddNames {
		t.Run("own/"+what, func(t *testing.T) {
			tor := torOn(t, network, func(c *TorConfig) { // in a directory that was not seeded
				c.DataDir = filepath.Join(t.TempDir(), name, "tor"+name)
			})
			if s := tor.Status(); s.Version == "" {
				t.Errorf("status %+v", s)
			}
		})
	}
	t.Run("of the system", func(t *testing.T) {
		for what, name := range oddNames {
			dir := shortTemp(t, name)
			control, cookie, socks := filepath.Join(dir, "control"), filepath.Join(dir, "cookie"), filepath.Join(dir, "socks")
			stop := network.ClientForTest(t, "ControlPort unix:"+inLine(control), "CookieAuthentication 1", "CookieAuthFile "+torQuote(cookie),
				"SocksPort unix:"+inLine(socks))
			awaitFile(t, cookie)
			for _, named := range []string{"", cookie} {
				source, err := newRunningSource(TorConfig{Control: "unix:" + control, ControlCookie: named}, impatient.answer)
				if err != nil {
					t.Fatal(err)
				}
				session, err := source.startSession(within(t, watchdog), ignoreEvents)
				if err != nil {
					t.Errorf("%s, cookie %q: %v", what, named, err)
					continue
				}
				if session.tor.socksAddress != socks {
					t.Errorf("%s: the SOCKS port is %q, want %q", what, session.tor.socksAddress, socks)
				}
				session.closeSession()
			}
			stop()
		}
	})
}

// inLine quotes a path that is not the whole value of a line, where # begins a comment.
func inLine(path string) string { return strings.ReplaceAll(torQuote(path), "#", `\x23`) }

// shortTemp makes a directory whose path leaves room for the name of a socket.
func shortTemp(t *testing.T, name string) string {
	above, err := os.MkdirTemp("/tmp", "o")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(above) })
	dir := filepath.Join(above, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// awaitFile waits for a file of tor, which tells nobody that it has written it.
func awaitFile(t *testing.T, path string) {
	t.Helper()
	ctx := within(t, watchdog)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(path); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("tor does not make %s", path)
		}
	}
}

func ignoreEvents(*session, control.Event) {}
