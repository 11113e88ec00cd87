package e2e_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// consoleBrowser opens the pages of the console of a relay through its socket.
type consoleBrowser struct {
	*harness
	client *http.Client
	prefix string // of the pages
}

// openConsole signs in with an address from the command console.
func (h *harness) openConsole(socket string) *consoleBrowser {
	h.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		h.Fatal(err)
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	h.Cleanup(transport.CloseIdleConnections)
	b := &consoleBrowser{harness: h, client: &http.Client{Jar: jar, Transport: transport}}
	out, err := h.runRelay("console")
	if err != nil {
		h.Fatalf("console: %v\n%s", err, out)
	}
	address := regexp.MustCompile(`(?m)^http://127\.0\.0\.1:7480(/open/\S+)$`).FindStringSubmatch(out)
	if address == nil || !strings.Contains(out, "ssh -N -L 7480:"+socket+" HOST") {
		h.Fatalf("console prints %s", out)
	}
	page := b.get(address[1])
	b.prefix = regexp.MustCompile(`href="(/[^/"]+)/">Go to your servers`).FindStringSubmatch(page)[1]
	if log := h.relay.log.String(); strings.Contains(log, address[1]) {
		h.Error("the log has the key")
	}
	return b
}

func (b *consoleBrowser) read(res *http.Response, err error) string {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		b.Fatalf("%s answers %d: %v\n%s", res.Request.URL.Path, res.StatusCode, err, text)
	}
	return string(text)
}

func (b *consoleBrowser) get(path string) string {
	b.Helper()
	return b.read(b.client.Get("http://127.0.0.1:7480" + path))
}

// send fills in and sends the form of a page.
func (b *consoleBrowser) send(path string, form url.Values) string {
	b.Helper()
	page := b.get(b.prefix + path)
	_, below, _ := strings.Cut(page, `action="`+b.prefix+path+`"`)
	for _, m := range regexp.MustCompile(`type="hidden" name="(\w+)" value="([^"]+)"`).FindAllStringSubmatch(below, -1) {
		if form.Get(m[1]) == "" {
			form.Set(m[1], m[2])
		}
	}
	return b.read(b.client.PostForm("http://127.0.0.1:7480"+b.prefix+path, form))
}

// TestConsoleHostsAServer adds a server in the console of a relay that has none, posts to it,
// and deletes it, over a socket that is open to nobody else.
func TestConsoleHostsAServer(t *testing.T) {
	t.Parallel()
	h := newHarness(t, `
		console { listen = "unix:$DIR/console.sock" }
		server "main" {}
	`)
	h.start()
	socket := h.path("console.sock")
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has %v, %v", info, err)
	}
	b := h.openConsole(socket)
	b.send("/add", url.Values{"name": {"guest"}, "description": {"for a while"}, "autostart": {"on"}})
	h.awaitStatus("guest runs", func(st manager.Status) bool {
		return len(st.Servers) == 2 && st.Servers[1].State == manager.StateRunning
	})
	envelope := wire.Envelope{Ciphertext: []byte("hello"), Signature: make([]byte, 64)}
	if err := h.connect("guest").Deliver(h.ctx, envelope, h.mintTokens("guest", 1)[0]); err != nil {
		t.Fatal(err)
	}
	bundle, err := h.runRelay("bundle", "-server", "guest")
	if page := b.get(b.prefix + "/servers/guest/bundle.txt"); err != nil || page != bundle {
		t.Errorf("the console has the bundle %q, the command %q, %v", page, bundle, err)
	}
	if page := b.send("/servers/guest/edit", url.Values{"description": {"for long"}}); !strings.Contains(page, "for long") {
		t.Errorf("the description is not there after an edit: %s", page)
	}
	b.send("/servers/guest/delete", url.Values{"name": {"guest"}})
	if servers := h.status().Servers; len(servers) != 1 {
		t.Errorf("there are %d servers after the deletion", len(servers))
	}
	if page := b.get(b.prefix + "/log"); !strings.Contains(page, "guest") {
		t.Error("the log page does not tell of the changes")
	}
	h.stop()
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}
