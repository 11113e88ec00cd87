package e2e_test

import (
	"context"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/proxy"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/onion/tornet"
)

// browserTor is a tor as a browser uses it.
type browserTor struct {
	*harness
	control *textproto.Conn
	dialer  proxy.ContextDialer
}

// newBrowserTor starts a tor that is no client of anything yet.
func (h *harness) newBrowserTor(network *tornet.Network) *browserTor {
	h.Helper()
	dir, err := os.MkdirTemp("", "") // short, for a socket
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "control")
	network.ClientForTest(h.TB, "ControlSocket "+socket, "SocksPort 127.0.0.1:auto")
	b := &browserTor{harness: h}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for b.control == nil { // until tor listens
		if nc, err := net.Dial("unix", socket); err == nil {
			b.control = textproto.NewConn(nc)
			h.Cleanup(func() { b.control.Close() })
			break
		}
		select {
		case <-tick.C:
		case <-h.ctx.Done():
			h.Fatal("tor does not listen")
		}
	}
	b.tell("AUTHENTICATE")
	address := regexp.MustCompile(`"([^"]+)"`).FindStringSubmatch(b.tell("GETINFO net/listeners/socks"))
	if address == nil {
		h.Fatal("tor has no SOCKS port")
	}
	d, err := proxy.SOCKS5("tcp", address[1], nil, nil)
	if err != nil {
		h.Fatal(err)
	}
	b.dialer = d.(proxy.ContextDialer)
	for !strings.Contains(b.tell("GETINFO status/bootstrap-phase"), "PROGRESS=100") {
		select {
		case <-tick.C:
		case <-h.ctx.Done():
			h.Fatal("tor does not bootstrap")
		}
	}
	return b
}

// tell gives tor a command and returns its answer.
func (b *browserTor) tell(command string) string {
	b.Helper()
	if err := b.control.PrintfLine("%s", command); err != nil {
		b.Fatal(err)
	}
	_, text, err := b.control.ReadResponse(25)
	if err != nil {
		b.Fatalf("tor answers %v", err)
	}
	return text
}

// get fetches a page through tor, with another Host if one is given.
func (b *browserTor) get(address, host string) (status int, page string, err error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: b.dialer.DialContext}
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, "", err
	}
	req.Host = host
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

// TestConsoleOverTor opens the console through its onion service with the two keys that it takes:
// that of a client of the service, and the one-time key. Without the first there is no connection.
func TestConsoleOverTor(t *testing.T) {
	t.Parallel()
	network := tornet.ForTest(t)
	h := newHarness(t, `server "main" {}`)
	var torrc strings.Builder
	for _, line := range network.ClientTorrc() {
		fmt.Fprintf(&torrc, "%s,\n", strconv.Quote(line))
	}
	var client struct{ Public, Private string }
	var opened struct {
		Address, Onion string
		OnionProblem   string `json:"onion_problem"`
	}
	out, err := exec.CommandContext(h.ctx, filepath.Join(bin, "cwtch-relay"), "console", "new-client", "-json").Output()
	if err == nil {
		err = json.Unmarshal(out, &client)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.writeFile("server.hcl", `
		log { level = "debug" }
		network "tor" { torrc = [`+torrc.String()+`] }
		console {
			listen        = "unix:`+h.path("console.sock")+`"
			onion         = true
			onion_clients = ["`+client.Public+`"]
		}
		server "main" {}
	`)
	if err := network.Seed(h.path("data", "tor")); err != nil {
		t.Fatal(err)
	}
	h.start()
	h.awaitStatus("the console is published", func(st manager.Status) bool { return st.Console != nil && st.Console.Published })
	h.mustRunJSON(&opened, "console")
	base, _, found := strings.Cut(opened.Onion, "/open/")
	if !found || opened.OnionProblem != "" || !strings.HasSuffix(base, ".onion") {
		t.Fatalf("console prints %q, problem %q", base, opened.OnionProblem)
	}
	service := strings.TrimSuffix(strings.TrimPrefix(base, "http://"), ".onion")
	if out, err := h.runRelay("doctor"); !strings.Contains(out, "ok       console: published") {
		t.Errorf("doctor: %v\n%s", err, out)
	}

	b := h.newBrowserTor(network)
	if status, _, err := b.get(opened.Onion, ""); err == nil {
		t.Fatalf("a client without a key is answered with %d", status)
	}
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(client.Private)
	if err != nil {
		t.Fatal(err)
	}
	b.tell("ONION_CLIENT_AUTH_ADD " + service + " x25519:" + base64.StdEncoding.EncodeToString(raw))
	status, page, err := b.get(base+"/", "")
	for err != nil && h.ctx.Err() == nil { // not all directories have it at once
		t.Logf("not reached yet: %v", err)
		status, page, err = b.get(base+"/", "")
	}
	if err != nil || status != http.StatusOK || !strings.Contains(page, "Open the console") {
		t.Fatalf("without a one-time key: %d, %v\n%s", status, err, page)
	}
	_, key, _ := strings.Cut(opened.Onion, "/open/")
	if status, _, err := b.get(base+"/open/"+key, "evil.example"); err != nil || status != http.StatusMisdirectedRequest {
		t.Errorf("with another host: %d, %v", status, err)
	}
	if status, page, err := b.get(opened.Onion, service+".onion:80"); err != nil || status != http.StatusOK || !strings.Contains(page, "Go to your servers") {
		t.Errorf("with both keys: %d, %v\n%s", status, err, page)
	}
	if status, _, err := b.get(opened.Onion, ""); err != nil || status != http.StatusForbidden {
		t.Errorf("with a key that was used: %d, %v", status, err)
	}
	if log := h.relay.log.String(); strings.Contains(log, client.Private) || strings.Contains(log, key) {
		t.Error("the log has a key")
	}

	h.stop()
	h.start()
	st := h.awaitStatus("published again", func(st manager.Status) bool { return st.Console != nil && st.Console.Published })
	if string(st.Console.Onion) != service {
		t.Error("the address is another one after a restart")
	}
	h.replaceInConfig("onion         = true", "onion         = false")
	if out, err := h.runRelay("reload"); err == nil || !strings.Contains(out, "the console cannot change while the relay runs") || !strings.Contains(out, "restart the relay") {
		t.Errorf("reload: %v\n%s", err, out)
	}
}

// mustRunJSON runs a command of cwtch-relay and reads what it prints.
func (h *harness) mustRunJSON(into any, args ...string) {
	h.Helper()
	out, err := h.runRelay(append(args, "-json")...)
	begin, end := strings.IndexByte(out, '{'), strings.LastIndexByte(out, '}')
	if err != nil || begin < 0 || end < begin {
		h.Fatalf("cwtch-relay %q: %v", args, err)
	}
	if err := json.Unmarshal([]byte(out[begin:end+1]), into); err != nil {
		h.Fatal(err)
	}
}
