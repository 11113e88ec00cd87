package pluginproc

import (
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
)

// TestHandshakeLines: the error names the fault of a handshake line, and comes at once when the
// err is final.
func TestHandshakeLines(t *testing.T) {
	const certificate = "MIIBaDCCAQ8CFHnothing"
	for name, c := range map[string]struct{ script, want string }{
		"nothing":          {`exit 3`, "ended before its handshake line (exit status 3)"},
		"nothing, by fire": {`kill -ABRT $$`, "ended before its handshake line (signal: aborted"},
		"said why":         {`echo 'no such module' >&2; exit 1`, "ended before its handshake line (exit status 1); the plugin said: no such module"},
		"no line feed":     {`printf '1|1|unix|%s/s|grpc|AAAA' "$PLUGIN_UNIX_SOCKET_DIR"; exec sleep 60`, `no handshake within 500ms; it has written "1|1|unix|`},
		"cut off":          {`printf '1|1|uni'; exit 0`, `ended before its handshake line was complete, which has no line feed: "1|1|uni" (exit status 0)`},
		"silent":           {`exec sleep 60`, "no handshake within 500ms"},
		"too long":         {`head -c 20000 /dev/zero | tr '\0' x; exec sleep 60`, "bytes and no line feed in place of its handshake line"},
		"before it":        {`echo 'loading modules'; echo '1|1|unix|s|grpc|AAAA'; exec sleep 60`, `printed "loading modules" in place of its handshake line`},
		"in front of it":   {`echo 'loading modules1|1|unix|s|grpc|AAAA'; exec sleep 60`, `printed "loading modules" in front of its handshake line`},
		"garbage":          {`printf '\033[2J\000\n'; exec sleep 60`, "in place of its handshake line"},
		"empty":            {`echo; exec sleep 60`, `printed "" in place of its handshake line`},
		"frame":            {`echo "2|1|unix|$PLUGIN_UNIX_SOCKET_DIR/s|grpc|AAAA"; exec sleep 60`, "begins its handshake line with 2"},
		"version":          {`echo "1|2|unix|$PLUGIN_UNIX_SOCKET_DIR/s|grpc|AAAA"; exec sleep 60`, "chose version 2 of the framing, the second number of its handshake line; this relay speaks 1"},
		"a huge version":   {`echo "1|99999999999999999999|unix|$PLUGIN_UNIX_SOCKET_DIR/s|grpc|AAAA"; exec sleep 60`, "of the framing, the second number"},
		"tcp":              {`echo "1|1|tcp|127.0.0.1:9|grpc|AAAA"; exec sleep 60`, `listens on "tcp" "127.0.0.1:9", not on a unix socket in its directory`},
		"elsewhere":        {`echo "1|1|unix|/tmp/s|grpc|AAAA"; exec sleep 60`, `listens on "unix" "/tmp/s", not on a unix socket in its directory`},
		"netrpc":           {`echo "1|1|unix|$PLUGIN_UNIX_SOCKET_DIR/s|netrpc|AAAA"; exec sleep 60`, `speaks "netrpc" by its handshake line`},
		"short":            {`echo "1|1|unix|$PLUGIN_UNIX_SOCKET_DIR/s"; exec sleep 60`, `speaks "" by its handshake line`},
		"no certificate":   {`echo "1|1|unix|$PLUGIN_UNIX_SOCKET_DIR/s|grpc|"; exec sleep 60`, "has no certificate in its handshake line"},
		"padded":           {`echo "1|1|unix|$PLUGIN_UNIX_SOCKET_DIR/s|grpc|` + certificate + `=="; exec sleep 60`, `pads the certificate in its handshake line`},
		"no base64":        {`echo "1|1|unix|$PLUGIN_UNIX_SOCKET_DIR/s|grpc|-----BEGIN"; exec sleep 60`, "has no base64 in place of the certificate"},
		"no DER":           {`echo "1|1|unix|$PLUGIN_UNIX_SOCKET_DIR/s|grpc|AAAAAAAA"; exec sleep 60`, "has no certificate in DER"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := StartConfig{Command: Command{Path: "/bin/sh", Args: []string{"-c", c.script}}, Logger: slog.New(slog.DiscardHandler)}
			if strings.Contains(c.want, "500ms") {
				cfg.Timeout = 500 * time.Millisecond
			}
			begin := time.Now()
			_, err := Start(t.Context(), cfg)
			switch {
			case err == nil:
				t.Fatal("that is no plugin")
			case !strings.Contains(err.Error(), c.want) || strings.ContainsFunc(err.Error(), unicode.IsControl) || len(err.Error()) > 2*maxErrorText:
				t.Errorf("got  %q\nwant %q", err, c.want)
			case cfg.Timeout == 0 && time.Since(begin) >= host.StartTimeout:
				t.Errorf("it took %v", time.Since(begin))
			}
		})
	}
}

// TestOutputAfterHandshakeIsCounted: output after the handshake is read to its end, however long
// a line is.
func TestOutputAfterHandshakeIsCounted(t *testing.T) {
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &stdout{pipe: from, checkAddress: func(n, a string) (string, string, error) { return n, a, nil }, parsed: &Handshake{}}
	defer s.Close()
	go func() {
		defer to.Close()
		to.WriteString("hello \x1b[2J\n" + strings.Repeat("x", 1<<20))
	}()
	s.Read(make([]byte, 10))
	n, text := (&Process{runner: &runner{stdout: s}}).Printed()
	if n != 11+1<<20 || !strings.HasPrefix(text, "hello  [2J x") || len(text) != maxPrinted {
		t.Errorf("printed %d bytes, %q", n, text)
	}
}
