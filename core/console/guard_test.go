package console

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

// addServer puts a server into the fake relay.
func (c *testConsole) addServer(n manager.NewServer) {
	c.relay.update(func() { c.relay.addServer(n) })
}

func TestForgedRequestsChangeNothing(t *testing.T) {
	c := startConsole(t)
	b := c.signIn()
	c.addServer(manager.NewServer{Name: "book-club", Autostart: true})
	form := b.form("/servers/book-club", "/servers/book-club/stop").Encode()
	other := c.signIn()
	foreign := other.form("/servers/book-club", "/servers/book-club/stop").Encode()
	stop := c.prefix + "/servers/book-club/stop"
	for _, test := range []struct {
		name, method, path, body string
		change                   func(*http.Request)
		status                   int
	}{
		{"host of a stranger", http.MethodGet, c.prefix + "/", "", func(r *http.Request) { r.Host = "evil.example:7480" }, http.StatusMisdirectedRequest},
		{"host that begins like ours", http.MethodGet, c.prefix + "/", "", func(r *http.Request) { r.Host = "localhost.evil.example" }, http.StatusMisdirectedRequest},
		{"host of a stranger with a key", http.MethodGet, c.IssueKey(), "", func(r *http.Request) { r.Host = "evil.example" }, http.StatusMisdirectedRequest},
		{"origin of a stranger", http.MethodPost, stop, form, func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }, http.StatusForbidden},
		{"origin of another port", http.MethodPost, stop, form, func(r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1:1") }, http.StatusForbidden},
		{"cross-site", http.MethodPost, stop, form, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, http.StatusForbidden},
		{"same-site, another port", http.MethodPost, stop, form, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") }, http.StatusForbidden},
		{"no token", http.MethodPost, stop, "", nil, http.StatusForbidden},
		{"token of another session", http.MethodPost, stop, foreign, nil, http.StatusForbidden},
		{"token in the address", http.MethodPost, stop + "?" + form, "", nil, http.StatusForbidden},
		{"damaged token", http.MethodPost, stop, form[:len(form)-2], nil, http.StatusForbidden},
		{"other content type", http.MethodPost, stop, form, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, http.StatusUnsupportedMediaType},
		{"get", http.MethodGet, stop, "", nil, http.StatusNotFound},
		{"other method", http.MethodDelete, c.prefix + "/servers/book-club", "", nil, http.StatusNotFound},
	} {
		a := b.do(test.method, test.path, strings.NewReader(test.body), func(r *http.Request) {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if test.change != nil {
				test.change(r)
			}
		})
		if a.status != test.status {
			t.Errorf("%s: the answer is %d, not %d", test.name, a.status, test.status)
		}
	}
	if calls := c.relay.called(); len(calls) > 0 {
		t.Errorf("forged requests did %v", calls)
	}
	for _, host := range []string{"localhost:9", "127.0.0.1", "[::1]:80"} {
		if a := b.do(http.MethodGet, c.prefix+"/", nil, func(r *http.Request) { r.Host = host }); a.status == http.StatusMisdirectedRequest {
			t.Errorf("the host %s gets %d", host, a.status)
		}
	}
}

func TestForgedCookiesOpenNothing(t *testing.T) {
	c := startConsole(t)
	b := c.signIn()
	at, _ := url.Parse("http://" + c.addr + c.prefix + "/")
	cookie := b.client.Jar.Cookies(at)[0].Value
	for _, value := range []string{"", "x", cookie[1:], cookie + "A", strings.ToLower(cookie), strings.Repeat("A", 8000)} {
		a := c.newBrowser().do(http.MethodGet, c.prefix+"/", nil, func(r *http.Request) { r.Header.Set("Cookie", cookieName+"="+value) })
		if a.status != http.StatusForbidden || strings.Contains(a.text, c.prefix) {
			t.Errorf("the cookie %.20q… gets %d", value, a.status)
		}
	}
	for _, path := range []string{"/", "/open/x", "/static/", "/servers/book-club", "/nothing"} {
		if a := c.newBrowser().get(path); strings.Contains(a.text, c.prefix) {
			t.Errorf("%s tells a stranger the prefix", path)
		}
	}
}

// TestCookiesOfOtherProgramsCoverNothing sends, beside the cookie, one that another program on this
// host has set under the same name.
func TestCookiesOfOtherProgramsCoverNothing(t *testing.T) {
	c := startConsole(t)
	at, _ := url.Parse("http://" + c.addr + c.prefix + "/")
	own := c.signIn().client.Jar.Cookies(at)[0].Value
	for _, cookies := range []string{cookieName + "=x; " + cookieName + "=" + own, cookieName + "=" + own + "; " + cookieName + "=x"} {
		a := c.newBrowser().do(http.MethodGet, c.prefix+"/", nil, func(r *http.Request) { r.Header.Set("Cookie", cookies) })
		a.want(t, http.StatusOK)
	}
}

func TestCookieIsKept(t *testing.T) {
	c := startConsole(t)
	a := c.newBrowser().get(c.IssueKey())
	cookie := a.header.Get("Set-Cookie")
	for _, part := range []string{"HttpOnly", "SameSite=Strict", "Path=" + c.prefix + "/", "Max-Age=43200"} {
		if !strings.Contains(cookie, part) {
			t.Errorf("the cookie has no %s: %s", part, cookie)
		}
	}
	other := startConsole(t)
	if other.prefix == c.prefix {
		t.Error("two consoles have the same prefix")
	}
}

func TestKeyWorksOnce(t *testing.T) {
	c := startConsole(t)
	key := c.IssueKey()
	guess := c.newBrowser()
	for _, prepare := range []func(*http.Request){
		func(r *http.Request) { r.Method = http.MethodHead },
		func(r *http.Request) { r.Header.Set("Sec-Purpose", "prefetch;prerender") },
		func(r *http.Request) { r.Header.Set("Purpose", "prefetch") },
		func(r *http.Request) { r.Header.Set("X-Purpose", "preview") },
		func(r *http.Request) { r.Header.Set("X-Moz", "prefetch") },
	} {
		if a := guess.do(http.MethodGet, key, nil, prepare); a.status != http.StatusServiceUnavailable {
			t.Errorf("a request that nobody has asked for gets %d", a.status)
		}
	}
	first := c.newBrowser()
	first.get(key).want(t, http.StatusOK, "Go to your servers")
	first.page("/")
	second := c.newBrowser()
	second.get(key).want(t, http.StatusForbidden, "This address has been used")
	second.get(c.prefix+"/").want(t, http.StatusForbidden, "Open the console")
	if log := c.log.String(); strings.Contains(log, strings.TrimPrefix(key, "/open/")) || strings.Contains(log, c.prefix) {
		t.Errorf("the log has a secret: %s", log)
	}
}

func TestWrongKeysAreSlowed(t *testing.T) {
	c := startConsole(t)
	b := c.newBrowser()
	statuses := map[int]int{}
	for range 3 * wrongKeyBurst {
		statuses[b.get("/open/"+randomText(32)).status]++
	}
	if statuses[http.StatusTooManyRequests] < wrongKeyBurst {
		t.Errorf("the answers are %v", statuses)
	}
	c.signIn() // a right key is never refused
}

func TestKeysAreBounded(t *testing.T) {
	c := startConsole(t)
	var issued []string
	for range maxKeys + 1 {
		issued = append(issued, c.IssueKey())
	}
	b := c.newBrowser()
	b.get(issued[0]).want(t, http.StatusForbidden)
	b.get(issued[maxKeys]).want(t, http.StatusOK)
}

func TestKeysAndSessionsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{Relay: newFakeRelay()})
		key := strings.TrimPrefix(c.IssueKey(), "/open/")
		time.Sleep(keyLifetime)
		if c.keys.useKey(key) {
			t.Error("an old key is valid")
		}
		request := func(id string) *http.Request {
			r, _ := http.NewRequest(http.MethodGet, "/", nil)
			r.AddCookie(&http.Cookie{Name: cookieName, Value: id})
			return r
		}
		idle := c.sessions.addSession()
		time.Sleep(sessionIdle)
		if c.sessions.findSession(request(idle)) != nil {
			t.Error("an idle session is valid")
		}
		used := c.sessions.addSession()
		for range int(sessionLifetime/time.Hour) - 1 {
			time.Sleep(time.Hour)
			s := c.sessions.findSession(request(used))
			if s == nil {
				t.Fatal("a session that is used has ended")
			}
			s.touch()
		}
		time.Sleep(time.Hour)
		if c.sessions.findSession(request(used)) != nil {
			t.Error("a session lives longer than it may")
		}
	})
}

func TestSessionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{Relay: newFakeRelay()})
		for range 3 * maxSessions {
			c.sessions.addSession()
			time.Sleep(time.Second)
		}
		if n := len(c.sessions.open); n != maxSessions {
			t.Errorf("there are %d sessions", n)
		}
	})
}

// nasty are texts that no name may be, and that no page may show as they are.
var nasty = []string{
	"../../etc/passwd", "..", ".", "/", "a/b", "a b", "a\x00b", "a\nb", "\u202eevil", "\u2066x\u2069", "name\u200f", "-a", "A", "ä",
	"<script>alert(1)</script>", `"onfocus="alert(1)`, "{{.}}", "%2e%2e%2f", strings.Repeat("x", 10_000), "\xff\xfe",
}

func TestBadNamesAreRefusedBesideTheField(t *testing.T) {
	c := startConsole(t)
	b := c.signIn()
	for _, text := range nasty {
		a := b.send("/add", "/add", "name", text, "autostart", "on")
		if a.status != http.StatusUnprocessableEntity || !strings.Contains(a.text, `id="name-error"`) || !strings.Contains(a.text, `aria-describedby="name-hint name-error"`) {
			t.Errorf("the name %.20q gets %d", text, a.status)
		}
		if strings.Contains(a.text, "<script>alert") || strings.Contains(a.text, `value=""onfocus`) {
			t.Errorf("the page shows %.20q as it is", text)
		}
		for _, path := range []string{"", "/edit", "/delete", "/bundle.txt", "/qr.png", "/passphrase", "/events"} {
			if a := b.get(c.prefix + "/servers/" + url.PathEscape(text) + path); a.status == http.StatusOK {
				t.Errorf("the page %s of %.20q answers %d", path, text, a.status)
			}
		}
	}
	if n := len(c.relay.Status(t.Context()).Servers); n > 0 {
		t.Errorf("%d servers were added", n)
	}
}

func TestBadDescriptions(t *testing.T) {
	c := startConsole(t)
	b := c.signIn()
	for _, text := range []string{"a\u202eb", strings.Repeat("x", 10_000), "a\x01b"} {
		b.send("/add", "/add", "name", "x", "description", text).want(t, http.StatusUnprocessableEntity, `id="description-error"`)
	}
	b.send("/add", "/add", "name", "x", "description", `<b>&"'`).wantRedirect(t, "/servers/x")
	b.page("/servers/x").want(t, http.StatusOK, "&lt;b&gt;&amp;&#34;&#39;")
}

func TestMistakesWithPassphrases(t *testing.T) {
	c := startConsole(t)
	b := c.signIn()
	for _, test := range []struct{ fields, want string }{
		{"protect=on", `id="passphrase-error"`},
		{"protect=on&passphrase=tiny&repeat=tiny", `id="passphrase-error"`},
		{"protect=on&passphrase=blue+horses+eat+grass&repeat=other", `id="repeat-error"`},
		{"passphrase=blue+horses+eat+grass", `id="protect-error"`},
		{"max_age=1h%22%7D", `id="max_age-error"`},
	} {
		form := b.form("/add", "/add")
		more, _ := url.ParseQuery(test.fields + "&name=x")
		for name, values := range more {
			form[name] = values
		}
		a := b.post("/add", form)
		a.want(t, http.StatusUnprocessableEntity, test.want)
		if strings.Contains(a.text, "blue horses") || strings.Contains(a.text, "tiny") {
			t.Error("the page repeats a passphrase")
		}
	}
}

func TestTooManyWrongPassphrasesSayWhenToTryAgain(t *testing.T) {
	c := startConsole(t)
	b := c.signIn()
	c.addServer(manager.NewServer{Name: "x", Passphrase: []byte("five random words")})
	c.relay.update(func() { c.relay.servers[0].State = manager.StateLocked })
	for range 5 {
		b.send("/servers/x", "/servers/x/unlock", "unlock", "wrong").want(t, http.StatusUnprocessableEntity, "not the passphrase")
	}
	b.send("/servers/x", "/servers/x/unlock", "unlock", "five random words").want(t, http.StatusUnprocessableEntity, "Wait 10 seconds")
	if log := c.log.String(); strings.Contains(log, "random words") {
		t.Errorf("the log has a passphrase: %s", log)
	}
}

func TestTwoBrowsersEditOneServer(t *testing.T) {
	c := startConsole(t)
	c.addServer(manager.NewServer{Name: "x", Description: "old", Autostart: true})
	one, two := c.signIn(), c.signIn()
	form := two.form("/servers/x/edit", "/servers/x/edit")
	one.send("/servers/x/edit", "/servers/x/edit", "description", "of the first").wantRedirect(t, "/servers/x")
	stale := two.post("/servers/x/edit", fill(form, "description", "of the second", "autostart", "on"))
	stale.want(t, http.StatusConflict, "Somebody has changed this server", "Description: of the first", "Start with the relay: no", `value="of the second"`)
	if calls := c.relay.called(); len(calls) != 1 {
		t.Errorf("the relay was asked to %v", calls)
	}
	two.post("/servers/x/edit", fill(two.formOf(stale, "/servers/x/edit"), "description", "of the second", "autostart", "on")).wantRedirect(t, "/servers/x")
	two.page("/servers/x").want(t, http.StatusOK, "of the second")
}

func TestFormSentTwiceIsDoneOnce(t *testing.T) {
	c := startConsole(t)
	b := c.signIn()
	c.relay.hold = make(chan struct{})
	form := fill(b.form("/add", "/add"), "name", "x", "autostart", "on")
	var both sync.WaitGroup
	answers := make([]answer, 2)
	both.Go(func() { answers[0] = b.post("/add", form) })
	<-c.relay.started
	both.Go(func() { answers[1] = b.post("/add", form) })
	close(c.relay.hold)
	both.Wait()
	late := b.post("/add", form)
	for _, a := range append(answers, late) {
		a.wantRedirect(t, "/servers/x")
	}
	if calls := c.relay.called(); len(calls) != 1 {
		t.Errorf("the relay was asked to %v", calls)
	}
}

func TestChangeGoesOnWithoutItsBrowser(t *testing.T) {
	c := startConsole(t)
	b := c.signIn()
	c.relay.hold = make(chan struct{})
	form := fill(b.form("/add", "/add"), "name", "x", "autostart", "on")
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		r, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.addr+c.prefix+"/add", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := b.client.Do(r)
		if err == nil {
			res.Body.Close()
		}
		left <- err
	}()
	<-c.relay.started
	leave()
	if <-left == nil {
		t.Fatal("the browser got an answer")
	}
	go close(c.relay.hold)
	c.end() // waits for the change
	if calls := c.relay.called(); len(calls) != 1 || calls[0] != "add x" {
		t.Errorf("the relay was asked to %v", calls)
	}
}

// zeros is an endless form.
type zeros struct{ sent atomic.Int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.sent.Load() >= 1<<30 {
		return 0, io.EOF
	}
	for i := range p {
		p[i] = 'a'
	}
	z.sent.Add(int64(len(p)))
	return len(p), nil
}

func TestHugeUploadIsCutOff(t *testing.T) {
	c := startConsole(t)
	b := c.signIn()
	body := &zeros{}
	r, _ := http.NewRequest(http.MethodPost, "http://"+c.addr+c.prefix+"/add", io.MultiReader(strings.NewReader("name="), body))
	r.ContentLength = 1<<30 + 5
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := b.client.Do(r)
	if err == nil {
		defer res.Body.Close()
		if res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("the answer is %d", res.StatusCode)
		}
	}
	if sent := body.sent.Load(); sent > 32<<20 { // what the buffers of the system take
		t.Errorf("%d bytes were taken", sent)
	}
	if len(c.relay.called()) > 0 {
		t.Error("a server was added")
	}
}

// TestSlowClientsKeepNobodyOut lets clients that send nothing, or one byte, take all
// connections. They lose them.
func TestSlowClientsKeepNobodyOut(t *testing.T) {
	t.Parallel() // it waits
	c := startConsole(t)
	b := c.signIn()
	b.client.CloseIdleConnections()
	for i := range 2 * maxConnections {
		nc, err := net.Dial("tcp", c.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if i%2 == 0 {
			fmt.Fprint(nc, "GET / HT")
		}
	}
	began := time.Now()
	b.page("/")
	if took := time.Since(began); took > 3*readHeaderTimeout {
		t.Errorf("a page takes %v", took)
	}
}

func TestStreams(t *testing.T) {
	c := startConsole(t)
	b := c.signIn()
	c.addServer(manager.NewServer{Name: "x", Autostart: true})
	live := regexpFind(t, `data-events="([^"]+)"`, b.page("/servers/x").text)
	b.client.Timeout = 0
	open := func() *http.Response {
		res, err := b.client.Get("http://" + c.addr + strings.ReplaceAll(live, "&amp;", "&"))
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	first := open()
	defer first.Body.Close()
	lines := bufio.NewScanner(first.Body)
	nextEvent := func() string {
		for lines.Scan() {
			if text := lines.Text(); text != "" && !strings.HasPrefix(text, "data:") {
				return text
			}
		}
		return "the end"
	}
	if event := nextEvent(); event != ": still here" {
		t.Fatalf("the page is up to date, and the stream says %q", event)
	}
	c.relay.publish("x", 12)
	if event := nextEvent(); event != "event: changed" {
		t.Fatalf("the server runs, and the stream says %q", event)
	}
	for range maxStreams - 1 {
		defer open().Body.Close()
	}
	beyond := open()
	defer beyond.Body.Close()
	if beyond.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one stream too many gets %d", beyond.StatusCode)
	}
	// Streams do not keep pages from others, and end with the session.
	b.post("/signout", b.form("/", "/signout")).wantRedirect(t, "/")
	if event := nextEvent(); event != "event: ended" {
		t.Errorf("the session has ended, and the stream says %q", event)
	}
}

// TestStreamsDoNotKeepSessions shows that a page which is only followed lets its session end.
func TestStreamsDoNotKeepSessions(t *testing.T) {
	c := startConsole(t)
	b := c.signIn()
	b.page("/")
	var signed *session
	c.sessions.mu.Lock()
	for _, s := range c.sessions.open {
		signed = s
	}
	c.sessions.mu.Unlock()
	before := signed.lastSeen()
	r, _ := http.NewRequest(http.MethodGet, "http://"+c.addr+c.prefix+"/events", nil)
	r.Header.Set("Accept", eventStream)
	res, err := b.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK || !signed.lastSeen().Equal(before) {
		t.Errorf("the answer is %d, and the session counts as used %v later", res.StatusCode, signed.lastSeen().Sub(before))
	}
	b.page("/")
	if signed.lastSeen().Equal(before) {
		t.Error("a page does not count as use")
	}
}

func TestAnswersKeepBrowsersInLine(t *testing.T) {
	c := startConsole(t)
	b := c.signIn()
	for _, path := range []string{"/", "/static/style.css", "/open/x", "/nothing", c.prefix + "/", c.prefix + "/add"} {
		h := b.get(path).header
		for name, want := range map[string]string{
			"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
			"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if h.Get(name) != want {
				t.Errorf("%s has %s: %q", path, name, h.Get(name))
			}
		}
	}
	for name, text := range map[string]string{"first": b.page("/").text, "add": b.page("/add").text} {
		for _, never := range []string{"<style", "style=", "onclick", "http://", "https://", "<script>"} {
			if strings.Contains(text, never) {
				t.Errorf("the page %s has %q", name, never)
			}
		}
	}
}
