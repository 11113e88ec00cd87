package console

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cwtch-relay/cwtch-relay/core/doctor"
	"github.com/cwtch-relay/cwtch-relay/core/logring"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testConsole is a console on a real socket.
type testConsole struct {
	*Console
	t     testing.TB
	relay *fakeRelay
	ring  *logring.Ring
	log   *lockedBuffer
	login *fakeSwitch
	addr  string // host:port
	end   func() // ends Serve
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// fakeSwitch is on or off, or refuses to change.
type fakeSwitch struct {
	on  atomic.Bool
	err error
}

func (f *fakeSwitch) IsOn() bool     { return f.on.Load() }
func (f *fakeSwitch) TurnOn() error  { return f.set(true) }
func (f *fakeSwitch) TurnOff() error { return f.set(false) }

func (f *fakeSwitch) set(on bool) error {
	if f.err == nil {
		f.on.Store(on)
	}
	return f.err
}

// startConsole serves the console of a relay on loopback until the test ends.
func startConsole(t testing.TB) *testConsole {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tc := &testConsole{t: t, relay: newFakeRelay(), ring: logring.New(slog.LevelDebug), log: &lockedBuffer{}, login: &fakeSwitch{}, addr: ln.Addr().String()}
	logger := slog.New(slog.NewMultiHandler(slog.NewTextHandler(tc.log, &slog.HandlerOptions{Level: slog.LevelDebug}), tc.ring.Handler()))
	tc.Console = New(Config{
		Relay: tc.relay, Log: tc.ring, Logger: logger, AtLogin: tc.login, Hosts: []string{testOnion},
		Doctor: func(context.Context) []doctor.Check {
			return []doctor.Check{
				{Name: "clock", OK: true, Text: "The clock is right."},
				{Name: "disk", Text: "The disk has 200 MB left.", Do: "Remove files that you do not need."},
			}
		},
	})
	tc.relay.changed = tc.watch.forget
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- tc.Serve(ctx, ln) }()
	tc.end = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("the console ended: %v", err)
		}
	})
	t.Cleanup(tc.end)
	return tc
}

// browser is one that follows no redirects by itself.
type browser struct {
	t      testing.TB
	c      *testConsole
	client *http.Client
}

// answer is what a browser got.
type answer struct {
	status int
	header http.Header
	text   string
}

func (c *testConsole) newBrowser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		c.t.Fatal(err)
	}
	transport := &http.Transport{}
	c.t.Cleanup(transport.CloseIdleConnections)
	return &browser{c.t, c, &http.Client{Jar: jar, Transport: transport, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}}
}

// signIn returns a browser with a session.
func (c *testConsole) signIn() *browser {
	c.t.Helper()
	b := c.newBrowser()
	if a := b.get(c.IssueKey()); a.status != http.StatusOK || !strings.Contains(a.text, c.prefix) {
		c.t.Fatalf("the key opens %d %s", a.status, a.text)
	}
	return b
}

func (b *browser) do(method, path string, body io.Reader, change func(*http.Request)) answer {
	b.t.Helper()
	r, err := http.NewRequest(method, "http://"+b.c.addr+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	res, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(text)}
}

func (b *browser) get(path string) answer {
	b.t.Helper()
	return b.do(http.MethodGet, path, nil, nil)
}

// page gets a page below the prefix.
func (b *browser) page(path string) answer {
	b.t.Helper()
	a := b.get(b.c.prefix + path)
	if a.status != http.StatusOK {
		b.t.Fatalf("%s answers %d: %s", path, a.status, a.text)
	}
	return a
}

func (b *browser) post(path string, form url.Values) answer {
	b.t.Helper()
	return b.do(http.MethodPost, b.c.prefix+path, strings.NewReader(form.Encode()), func(r *http.Request) {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	})
}

var (
	hiddenField = regexp.MustCompile(`<input type="hidden" name="(\w+)" value="([^"]*)">`)
	formStart   = regexp.MustCompile(`<form method="post" action="([^"]*)"`)
)

// form returns the hidden fields of the form of a page that goes to a path.
func (b *browser) form(page, path string) url.Values {
	b.t.Helper()
	return b.formOf(b.page(page), path)
}

func (b *browser) formOf(a answer, path string) url.Values {
	b.t.Helper()
	for _, at := range formStart.FindAllStringSubmatchIndex(a.text, -1) {
		if a.text[at[2]:at[3]] != b.c.prefix+path {
			continue
		}
		body, _, _ := strings.Cut(a.text[at[1]:], "</form>")
		values := url.Values{}
		for _, m := range hiddenField.FindAllStringSubmatch(body, -1) {
			values.Set(m[1], m[2])
		}
		return values
	}
	b.t.Fatalf("the page has no form for %s: %s", path, a.text)
	return nil
}

// send fills in a form and sends it.
func (b *browser) send(page, path string, fields ...string) answer {
	b.t.Helper()
	return b.post(path, fill(b.form(page, path), fields...))
}

// fill adds pairs of names and values to a form.
func fill(form url.Values, fields ...string) url.Values {
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return form
}

func (a answer) wantRedirect(t testing.TB, path string) {
	t.Helper()
	if a.status != http.StatusSeeOther || !strings.HasSuffix(a.header.Get("Location"), path) {
		t.Fatalf("the answer is %d to %q: %s", a.status, a.header.Get("Location"), a.text)
	}
}

func (a answer) want(t testing.TB, status int, texts ...string) {
	t.Helper()
	if a.status != status {
		t.Errorf("the answer is %d, not %d", a.status, status)
	}
	for _, text := range texts {
		if !strings.Contains(a.text, text) {
			t.Errorf("the answer does not say %q:\n%s", text, a.text)
		}
	}
}

func TestServerFromFirstPageToDeletion(t *testing.T) {
	c := startConsole(t)
	b := c.signIn()
	b.page("/").want(t, http.StatusOK, "Add your first server")

	b.send("/add", "/add", "name", "book-club", "description", "for Ada & Bo", "autostart", "on").wantRedirect(t, "/servers/book-club")
	b.page("/servers/book-club").want(t, http.StatusOK, "book-club was added.", "Publishing…", "5 to 60 seconds", "for Ada &amp; Bo")
	c.relay.publish("book-club", 1234)
	b.page("/servers/book-club").want(t, http.StatusOK, "Running", "server:", ".onion", "1\u202f234", "3.8 MB")
	file := b.page("/servers/book-club/bundle.txt")
	if bundle, _ := c.relay.Bundle("book-club"); file.text != bundle+"\n" || !strings.Contains(file.header.Get("Content-Disposition"), "attachment") {
		t.Errorf("the file has %q, with the header %q", file.text, file.header.Get("Content-Disposition"))
	}
	if qr := b.page("/servers/book-club/qr.png"); !strings.HasPrefix(qr.text, "\x89PNG") || qr.header.Get("Content-Type") != "image/png" {
		t.Errorf("the QR code is %.20q", qr.text)
	}

	b.send("/servers/book-club", "/servers/book-club/stop").wantRedirect(t, "/servers/book-club")
	b.page("/servers/book-club").want(t, http.StatusOK, "book-club is off.", "Turn on")
	b.send("/servers/book-club", "/servers/book-club/start").wantRedirect(t, "/servers/book-club")
	b.send("/servers/book-club/edit", "/servers/book-club/edit", "description", "novels").wantRedirect(t, "/servers/book-club")
	b.page("/servers/book-club").want(t, http.StatusOK, "novels", "does not start by itself")

	b.send("/servers/book-club/passphrase", "/servers/book-club/passphrase", "passphrase", "five random words", "repeat", "five random words").wantRedirect(t, "/servers/book-club")
	b.send("/servers/book-club/passphrase", "/servers/book-club/passphrase", "old", "wrong words", "passphrase", "other words", "repeat", "other words").
		want(t, http.StatusUnprocessableEntity, `<p class="fault" id="old-error">This is not the passphrase of the server.</p>`)
	c.relay.update(func() { c.relay.servers[0].State = manager.StateLocked })
	b.send("/servers/book-club", "/servers/book-club/unlock", "unlock", "wrong").want(t, http.StatusUnprocessableEntity, `id="unlock-error"`)
	b.send("/servers/book-club", "/servers/book-club/unlock", "unlock", "five random words").wantRedirect(t, "/servers/book-club")

	b.send("/servers/book-club/delete", "/servers/book-club/delete", "name", "bookclub", "passphrase", "five random words").
		want(t, http.StatusUnprocessableEntity, "This cannot be undone", `id="name-error"`)
	b.send("/servers/book-club/delete", "/servers/book-club/delete", "name", "book-club", "passphrase", "five random words").wantRedirect(t, "/")
	b.page("/").want(t, http.StatusOK, "book-club was deleted.", "Add your first server")
	b.get(c.prefix+"/servers/book-club").want(t, http.StatusNotFound, "There is no such server")
}

// The form of an edit has what the file of a server says, and changes nothing but what differs.
func TestEditWhatIsKept(t *testing.T) {
	c := startConsole(t)
	b := c.signIn()
	const at = "/servers/choir/edit"
	b.send("/add", "/add", "name", "choir", "max_age", "90d", "storage", "sqlite").wantRedirect(t, "/servers/choir")
	b.page(at).want(t, http.StatusOK, `<option value="90d" selected>`, `<option value="sqlite" selected>`, `<option value="" selected>2 GB`)
	b.send(at, at, "max_age", "30d", "storage", "").wantRedirect(t, "/servers/choir")
	text := &c.relay.servers[0].text
	if want := (manager.ServerText{MaxAge: "30d"}); *text != want {
		t.Errorf("the file says %+v", *text)
	}

	// What nobody can choose here stays, and a secret of a store is not shown.
	c.relay.update(func() { text.Storage, text.MaxAge = `storage "sqlite" { password = "hunter2" }`, "45d" })
	page := b.page(at)
	page.want(t, http.StatusOK, `<option value="45d" selected>45d (now)`, `<option value="as in the file" selected>`)
	if strings.Contains(page.text, "hunter2") {
		t.Error("the page shows the block of the store")
	}
	b.send(at, at, "description", "Tuesdays", "max_age", "45d", "max_bytes", "", "storage", "as in the file").wantRedirect(t, "/servers/choir")
	if text.MaxAge != "45d" || !strings.Contains(text.Storage, "hunter2") {
		t.Errorf("the file says %+v", *text)
	}

	for field, value := range map[string]string{"max_age": "forever", "max_bytes": "1TiB", "storage": "postgres"} {
		b.send(at, at, "description", "Tuesdays", "max_age", "45d", "storage", "as in the file", field, value).
			want(t, http.StatusUnprocessableEntity, `id="`+field+`-error">Choose one of the list.`)
	}
	c.relay.update(func() { c.relay.posts["choir"] = 1 })
	b.send(at, at, "description", "Tuesdays", "max_age", "45d", "storage", "sqlite").
		want(t, http.StatusUnprocessableEntity, `id="storage-error">The store of server choir has messages. To do: add another server.`)

	form := b.form(at, at)
	c.relay.update(func() { text.MaxBytes = "10GiB" })
	b.post(at, fill(form, "description", "Mondays", "max_age", "45d", "storage", "as in the file")).
		want(t, http.StatusConflict, "Somebody has changed this server", "Room for messages: 10 GB")

	// The store of a server that runs is not in question.
	c.relay.publish("choir", 1)
	if page := b.page(at); strings.Contains(page.text, `name="storage"`) {
		t.Error("the form offers another store for a server that runs")
	}
	b.send(at, at, "description", "Mondays", "max_age", "30d", "max_bytes", "10GiB").wantRedirect(t, "/servers/choir")
	if want := (manager.ServerText{Storage: text.Storage, MaxAge: "30d", MaxBytes: "10GiB"}); *text != want {
		t.Errorf("the file says %+v", *text)
	}
	c.relay.update(func() {
		c.relay.servers[0].fault = errors.New("choir.hcl:3: there is no option max_agee\n  3 | max_agee")
	})
	b.get(c.prefix+at).want(t, http.StatusConflict, "cannot be edited here", "choir.hcl:3: there is no option max_agee")
}

// The lines of the log are sentences, also of changes, and keep every value.
func TestDescribeLine(t *testing.T) {
	for _, test := range []struct{ message, attrs, text, rest string }{
		{"change", "change=add server=choir from=console", "Server choir was added, in the console.", ""},
		{"change", `change="change the passphrase of" server=choir from=command`, "Server choir has another passphrase, by a command.", ""},
		{"change", `change="start at log-in" on=true from=console`, "Start at log-in was turned on, in the console.", ""},
		{"change refused", `change=edit server=choir from=console error="max_age: write a time\n  on line 3"`,
			"Server choir: a change was refused (edit), asked for in the console: max_age: write a time", ""},
		{"plugin ready", `server=choir plugin=storage/bolt took=3ms`, "Server choir: plugin ready", "plugin: storage/bolt · took: 3ms"},
		{"a publication failed, will try again", `server=choir error="no \"circuits\" yet"`, `Server choir: a publication failed, will try again: no "circuits" yet`, ""},
		{"stopped", "", "Stopped.", ""},
		{"odd", `a b="x`, "Odd.", `a b: "x`},
	} {
		text, rest := describeLine(logring.Line{Message: test.message, Attrs: test.attrs})
		if text != test.text || rest != test.rest {
			t.Errorf("%s %s is %q and %q", test.message, test.attrs, text, rest)
		}
	}
}

// A plan that did not work is told in words, beside nothing in particular.
func TestExplainPlan(t *testing.T) {
	for name, test := range map[string]struct {
		plan *manager.Plan
		want string
	}{
		"nothing": {&manager.Plan{Steps: []manager.Step{{Done: true}}}, ""},
		"refused": {&manager.Plan{Refused: []manager.Refusal{{What: "data_dir was changed", Hint: "restart the relay"}}}, "nothing was changed: data_dir was changed. To do: restart the relay"},
		"failed": {&manager.Plan{Steps: []manager.Step{{Done: true}, {Error: "error: the disk is full\n  on server.hcl line 3"}}},
			"it is saved, but the server does not run as it should: the disk is full. The doctor may know more"},
	} {
		got := ""
		if err := explainPlan(test.plan, nil, ""); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestOtherPages(t *testing.T) {
	c := startConsole(t)
	b := c.signIn()
	c.addServer(manager.NewServer{Name: "book-club", Autostart: true})
	b.page("/plugins").want(t, http.StatusOK, "Keeps the messages", "bolt 1.0", "Starting…")
	b.page("/tor").want(t, http.StatusOK, "Connected", "0.4.9.11")
	c.relay.update(func() {
		c.relay.network.State, c.relay.network.Progress, c.relay.network.Summary = "bootstrapping", 45, "Loading relays"
	})
	b.page("/tor").want(t, http.StatusOK, `value="45"`, "Loading relays")
	c.logLine("a line of the log", "server", "book-club")
	b.page("/log").want(t, http.StatusOK, "Server book-club: a line of the log", "Note")
	b.page("/log.txt").want(t, http.StatusOK, "a line of the log server=book-club")

	b.send("/doctor", "/doctor").wantRedirect(t, "/doctor")
	<-c.doctor.done
	b.page("/doctor").want(t, http.StatusOK, "1 problem found.", "The clock is right.", "Remove files that you do not need.")

	c.relay.update(func() {
		s := c.relay.servers[0]
		s.State, s.Unreadable, s.Problem, s.Storage = manager.StateFailed, true, "there is no option max_agee", supervise.Status{}
	})
	broken := b.page("/servers/book-club")
	broken.want(t, http.StatusOK, "There is no option max_agee", "The file of this server has a mistake", "Delete…")
	if strings.Contains(broken.text, "/edit") || strings.Contains(broken.text, "passphrase") || strings.Contains(broken.text, "by itself") {
		t.Error("the page tells and offers what depends on the file")
	}
	b.page("/plugins").want(t, http.StatusOK, "Not known: the file of this server cannot be used.")

	b.post("/signout", b.form("/", "/signout")).wantRedirect(t, "/")
	b.get(c.prefix+"/").want(t, http.StatusForbidden, "Open the console")
}

func TestSwitchAtLogin(t *testing.T) {
	c := startConsole(t)
	b := c.signIn()
	b.page("/").want(t, http.StatusOK, "only when you click")
	b.send("/", "/at-login", "on", "yes").wantRedirect(t, "/")
	b.page("/").want(t, http.StatusOK, "starts by itself from now on", "when you log in")
	if !c.login.IsOn() {
		t.Error("it is not on")
	}
	b.send("/", "/at-login", "on", "no").wantRedirect(t, "/")
	if c.login.IsOn() {
		t.Error("it is still on")
	}
	c.login.err = errors.New("the disk is full")
	b.send("/", "/at-login", "on", "yes").wantRedirect(t, "/")
	b.page("/").want(t, http.StatusOK, "That could not be changed: the disk is full", "only when you click")
}

func (c *testConsole) logLine(text string, args ...any) { c.cfg.Logger.Info(text, args...) }

func TestPagesAreSmallAndFast(t *testing.T) {
	c := startConsole(t)
	b := c.signIn()
	for i := range 50 {
		name := "server-" + string(rune('a'+i/26)) + string(rune('a'+i%26))
		c.addServer(manager.NewServer{Name: name, Autostart: true, Description: strings.Repeat("words ", 20)})
		c.relay.publish(name, 100_000)
	}
	for i := range 600 {
		c.logLine("a line of the log", "number", i, "text", strings.Repeat("words ", 20))
	}
	static := len(b.get("/static/style.css").text) + len(b.get("/static/console.js").text) + len(b.get("/static/icon.svg").text)
	for _, path := range []string{"/", "/servers/server-aa", "/plugins", "/tor", "/doctor", "/log", "/add"} {
		began := time.Now()
		a := b.page(path)
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("%s takes %v", path, took)
		} else {
			t.Logf("%s: %d bytes and %d of style, script and icon in %v", path, len(a.text), static, took)
		}
		if len(a.text)+static > 100_000 {
			t.Errorf("%s has %d bytes with style and script", path, len(a.text)+static)
		}
	}
}

func regexpFind(t testing.TB, pattern, text string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("there is no %s in %s", pattern, text)
	}
	return m[1]
}
