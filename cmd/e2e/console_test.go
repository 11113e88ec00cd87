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
	"slices"
	"strings"
	"testing"
	"time"

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

// send fills in and sends the form of a page that goes to the same path.
func (b *consoleBrowser) send(path string, form url.Values) string {
	b.Helper()
	return b.sendFrom(path, path, form)
}

// sendFrom fills in and sends the form of a page that goes to a path.
func (b *consoleBrowser) sendFrom(at, path string, form url.Values) string {
	b.Helper()
	page := b.get(b.prefix + at)
	_, below, _ := strings.Cut(page, `action="`+b.prefix+path+`"`)
	for _, m := range regexp.MustCompile(`type="hidden" name="(\w+)" value="([^"]+)"`).FindAllStringSubmatch(below, -1) {
		if form.Get(m[1]) == "" {
			form.Set(m[1], m[2])
		}
	}
	return b.read(b.client.PostForm("http://127.0.0.1:7480"+b.prefix+path, form))
}

// want waits until a page has texts.
func (b *consoleBrowser) want(path string, texts ...string) {
	b.Helper()
	page := ""
	for b.ctx.Err() == nil {
		page = b.get(b.prefix + path)
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(page, text) }) {
			return
		}
		time.Sleep(100 * time.Millisecond) // as a person who clicks on Refresh
	}
	b.Fatalf("%s never says %q: %s", path, texts, page)
}

// manageServer does what the pages of a server offer beside adding and deleting it. In the end it
// has a passphrase.
func (b *consoleBrowser) manageServer(name string) {
	b.Helper()
	at := "/servers/" + name
	b.send(at+"/edit", url.Values{"max_age": {"30d"}, "max_bytes": {"10GiB"}})
	b.want(at+"/edit", `<option value="30d" selected>`, `<option value="10GiB" selected>`)
	b.send(at+"/passphrase", url.Values{"passphrase": {"old random words"}, "repeat": {"old random words"}})
	b.send(at+"/passphrase", url.Values{"old": {"old random words"}, "remove": {"on"}})
	b.want(at, "The keys are not protected with a passphrase.")
	b.send(at+"/passphrase", url.Values{"passphrase": {"five random words"}, "repeat": {"five random words"}})
	b.sendFrom(at, at+"/stop", url.Values{})
	b.want(at, "Turn this server on")
	b.sendFrom(at, at+"/unlock", url.Values{"unlock": {"five random words"}})
	b.want(at, "Running", "Connected now")
	b.want("/plugins", "Keeps the messages", "Working")
	b.want("/tor", "Test network")
	b.send("/doctor", url.Values{})
	b.want("/doctor", "server "+name+": board", "reached")
	if qr := b.get(b.prefix + at + "/qr.png"); !strings.HasPrefix(qr, "\x89PNG") {
		b.Errorf("the QR code is %.20q", qr)
	}
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
		return len(st.Servers) == 2 && !slices.ContainsFunc(st.Servers, func(s manager.ServerStatus) bool { return s.State != manager.StateRunning })
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
	b.manageServer("guest")
	b.send("/servers/guest/delete", url.Values{"name": {"guest"}, "passphrase": {"five random words"}})
	if servers := h.status().Servers; len(servers) != 1 {
		t.Errorf("there are %d servers after the deletion", len(servers))
	}
	b.want("/log", "Server guest was added, in the console.", "Server guest was deleted, in the console.")
	h.stop()
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}
