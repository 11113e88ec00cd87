package console

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
)

// axe is the checker of accessibility, as npm has it.
const (
	axeVersion   = "4.14.1"
	axeIntegrity = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
	cacheDir     = "../../.cache"
)

// step is something that a browser does.
type step = chromedp.Action[chromedp.Void]

// tab is one tab of a browser.
type tab struct {
	t   *testing.T
	c   *testConsole
	ctx context.Context
}

// missing skips a test for want of a program, except on machines that must have it.
func missing(t *testing.T, program string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is missing: install it with make chromium", program)
	}
	t.Skipf("%s is missing: install it with make chromium", program)
}

// startBrowser starts Chromium with a profile of its own.
func startBrowser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		missing(t, "chromium")
	}
	ctx, end := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox, // root has none, and the pages are ours
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"))...) // nothing else is asked for anything
	t.Cleanup(end)
	ctx, closeBrowser := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		chromedp.Cancel(ctx)
		closeBrowser()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// newTab opens a tab in a browsing context of its own, with a session.
func newTab(t *testing.T, c *testConsole, parent context.Context, before ...step) *tab {
	t.Helper()
	ctx, end := chromedp.NewContext(parent, chromedp.WithNewBrowserContext())
	t.Cleanup(end)
	b := &tab{t, c, ctx}
	if err := chromedp.Do(ctx); err != nil { // the tab lives as long as the context of the first call
		t.Fatal(err)
	}
	b.run(before...)
	b.run(call(emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}), chromedp.Navigate("http://"+c.addr+c.IssueKey()), chromedp.WaitVisible(chromedp.CSS("nav")))
	return b
}

// patience is how long a page may take for one step.
const patience = 20 * time.Second

func (b *tab) run(steps ...step) {
	b.t.Helper()
	result(b, chromedp.Steps(steps...))
}

// result returns what an action finds.
func result[T any](b *tab, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, action)
	for err != nil && strings.Contains(err.Error(), "Could not find node with given id") && ctx.Err() == nil { // the page was changing
		value, err = chromedp.Run(ctx, action)
	}
	if err != nil {
		look, cancel := context.WithTimeout(b.ctx, time.Second)
		defer cancel()
		text, _ := chromedp.Run(look, chromedp.Evaluate[string]("location.pathname + ': ' + document.body.innerText"))
		b.t.Fatalf("%v, at %s", err, strings.ReplaceAll(text, b.c.prefix, ""))
	}
	return value
}

// call makes an action of a command of the browser.
func call[P, R any](command cdp.Command[P, R], params P) step {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, params)
		return err
	})
}

func (b *tab) open(path string) {
	b.t.Helper()
	b.run(chromedp.Navigate("http://"+b.c.addr+b.c.prefix+path), chromedp.WaitVisible(chromedp.CSS("h1")))
}

// waitFor waits until the page has a text.
func (b *tab) waitFor(text string) {
	b.t.Helper()
	b.run(chromedp.WaitVisible(chromedp.Search(fmt.Sprintf(`//main//*[contains(., %[1]q) and not(*[contains(., %[1]q)])]`, text))))
}

// click clicks on a link or a button by its label.
func (b *tab) click(label string) {
	b.t.Helper()
	b.run(chromedp.Click(chromedp.Search(fmt.Sprintf(`//*[self::a or self::button or self::summary][contains(., %q)]`, label)), chromedp.NodeVisible))
}

func (b *tab) write(field, text string) {
	b.t.Helper()
	b.run(chromedp.SendKeys(chromedp.CSS("#"+field), text, chromedp.NodeVisible))
}

// TestBrowser goes through the console in Chromium as its users do.
func TestBrowser(t *testing.T) {
	c := startConsole(t)
	ctx := startBrowser(t)
	defer c.end() // before the browser, which keeps streams open
	for _, part := range []struct {
		name string
		test func(*testing.T, *testConsole, context.Context)
	}{
		{"clicks", testClicks}, {"keyboard", testKeyboard}, {"without script", testWithoutScript},
		{"other programs get no cookie", testOtherPort}, {"looks", testLooks},
	} {
		c.relay.update(func() { c.relay.servers, c.relay.wrong = nil, 0 })
		t.Run(part.name, func(t *testing.T) { part.test(t, c, ctx) })
	}
}

func testClicks(t *testing.T, c *testConsole, ctx context.Context) {
	b := newTab(t, c, ctx)
	b.waitFor("Give your friends a place to meet")
	checkHistory(b)
	b.click("Add your first server")
	b.write("name", "Book Club")
	b.click("Add server")
	b.waitFor("no hyphen at either end")
	b.run(chromedp.SetValue(chromedp.CSS("#name"), "book-club"))
	b.write("description", "Novels, every second Friday")
	b.run(chromedp.Click(chromedp.CSS("label[for=protect]")))
	b.write("passphrase", "five random words")
	b.write("repeat", "five random words")
	b.click("Add server")
	b.waitFor("Publishing…")
	c.relay.publish("book-club", 1234) // the stream brings this to the page
	b.waitFor("Running")
	b.grantClipboard()
	b.click("Copy key bundle")
	b.waitFor("Copied")
	copied := result(b, chromedp.Evaluate[string]("navigator.clipboard.readText()", chromedp.EvalAwaitPromise))
	announced := result(b, chromedp.TextContent(chromedp.CSS("#announcer")))
	if want, _ := c.relay.Bundle("book-club"); copied != want {
		t.Errorf("the clipboard has %q", copied)
	}
	if announced != "The key bundle is copied." {
		t.Errorf("a screen reader says %q", announced)
	}
	b.click("Turn off")
	b.waitFor("book-club is off.")
	b.write("unlock", "wrong words")
	b.click("Unlock and start")
	b.waitFor("not the passphrase")
	b.write("unlock", "five random words")
	b.click("Unlock and start")
	b.waitFor("Publishing…")
	b.click("Edit")
	b.run(chromedp.SetValue(chromedp.CSS("#description"), "Poems"), chromedp.Click(chromedp.CSS("#autostart")))
	b.click("Save")
	b.waitFor("It does not start by itself")
	b.click("Change passphrase")
	b.write("old", "five random words")
	b.write("passphrase", "other random words")
	b.write("repeat", "other random words")
	b.click("Save passphrase")
	b.waitFor("The passphrase is set.")
	b.click("Doctor")
	b.click("Examine now")
	b.waitFor("1 problem found.")
	b.open("/servers/book-club")
	b.click("Delete…")
	b.write("name", "book-club")
	b.write("passphrase", "other random words")
	b.click("Delete for good")
	b.waitFor("book-club was deleted.")
}

// grantClipboard lets the page read the clipboard, for the test.
func (b *tab) grantClipboard() {
	b.t.Helper()
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		_, err := chromedp.CallBrowser(b.ctx, cdpbrowser.SetPermission, cdpbrowser.SetPermissionParams{
			Permission: &cdpbrowser.PermissionDescriptor{Name: name}, Setting: cdpbrowser.PermissionSettingGranted,
			BrowserContextID: chromedp.FromContext(b.ctx).BrowserContextID,
		})
		if err != nil {
			b.t.Fatal(err)
		}
	}
}

// checkHistory looks for the key in what the browser remembers.
func checkHistory(b *tab) {
	b.t.Helper()
	at, title := result(b, chromedp.Location()), result(b, chromedp.Title())
	history, err := chromedp.Call(b.ctx, cdppage.GetNavigationHistory, cdp.Empty{})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, e := range history.Entries {
		if strings.Contains(e.URL, "/open/") {
			b.t.Errorf("the history of the tab has %s", e.URL)
		}
	}
	if !strings.HasSuffix(at, b.c.prefix+"/") || title != "Servers · Cwtch Relay" {
		b.t.Errorf("the browser shows %s with the title %q", at, title)
	}
}

// focused describes what has the focus.
const focused = `(() => { const e = document.activeElement, s = getComputedStyle(e);
	return { Window: e === document.body, Label: (e.id || "") + " " + (e.innerText || ""), Visible: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2 } })()`

type focus struct {
	Window  bool // none of the page's elements
	Label   string
	Visible bool
}

// tabTo presses Tab until an element has the focus. Every element on the way shows it.
func (b *tab) tabTo(label string) {
	b.t.Helper()
	for range 40 {
		b.run(chromedp.KeyEvent(kb.Tab))
		at := result(b, chromedp.Evaluate[focus](focused))
		if !at.Visible && !at.Window {
			b.t.Errorf("the focus on %q cannot be seen", at.Label)
		}
		if strings.Contains(at.Label, label) {
			return
		}
	}
	b.t.Fatalf("the Tab key does not lead to %q", label)
}

func testKeyboard(t *testing.T, c *testConsole, ctx context.Context) {
	b := newTab(t, c, ctx)
	press := func(keys string) { t.Helper(); b.run(chromedp.KeyEvent(keys)) }
	b.tabTo("Skip to the content")
	press(kb.Enter)
	b.tabTo("Add your first server")
	press(kb.Enter)
	b.run(chromedp.WaitVisible(chromedp.CSS("#name")))
	press("choir") // the field has the focus
	b.tabTo("description")
	press("Tuesdays")
	b.tabTo("protect")
	press(" ")
	b.tabTo("passphrase")
	press("five random words")
	b.tabTo("repeat")
	press("five random words")
	b.tabTo("Add server")
	press(kb.Enter)
	b.waitFor("Publishing…")
	c.relay.publish("choir", 3)
	b.waitFor("Running")
	b.tabTo("copy")
	press(kb.Enter)
	b.waitFor("Copied")
	b.tabTo("Turn off")
	press(" ")
	b.waitFor("choir is off.")
	b.tabTo("unlock")
	press("five random words" + kb.Enter)
	b.waitFor("Publishing…")
	b.tabTo("Edit")
	press(kb.Enter)
	b.run(chromedp.WaitVisible(chromedp.CSS("#autostart")))
	b.tabTo("autostart")
	press(" ")
	b.tabTo("Save")
	press(kb.Enter)
	b.waitFor("It does not start by itself")
	b.tabTo("Change passphrase")
	press(kb.Enter)
	b.run(chromedp.WaitVisible(chromedp.CSS("#old")))
	press("five random words" + kb.Tab + "other random words" + kb.Tab + "other random words" + kb.Enter)
	b.waitFor("The passphrase is set.")
	b.tabTo("Delete…")
	press(kb.Enter)
	b.run(chromedp.WaitVisible(chromedp.CSS("#passphrase")))
	press("choir" + kb.Tab + "other random words" + kb.Enter)
	b.waitFor("choir was deleted.")
}

func testWithoutScript(t *testing.T, c *testConsole, ctx context.Context) {
	b := newTab(t, c, ctx, call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
	b.click("Add your first server")
	b.write("name", "band")
	b.click("Add server")
	b.waitFor("Publishing…")
	c.relay.publish("band", 3)
	b.click("Refresh")
	b.waitFor("Running")
	if result(b, chromedp.Evaluate[bool](`document.querySelector("#copy").checkVisibility()`)) {
		t.Error("the button to copy shows, and cannot work")
	}
	b.click("Turn off")
	b.waitFor("band is off.")
	b.click("Turn on")
	b.waitFor("Publishing…")
	b.click("Edit")
	b.write("description", "Loud")
	b.click("Save")
	b.waitFor("Loud")
	b.click("Set passphrase")
	b.write("passphrase", "five random words")
	b.write("repeat", "five random words")
	b.click("Save passphrase")
	b.waitFor("The passphrase is set.")
	c.relay.update(func() { c.relay.servers[0].State = manager.StateLocked })
	b.open("/servers/band")
	b.write("unlock", "five random words")
	b.click("Unlock and start")
	b.waitFor("Publishing…")
	c.forgetExamination()
	b.click("Doctor")
	b.click("Examine now")
	b.run(chromedp.WaitVisible(chromedp.CSS("#doctor .waiting, #doctor .panel")))
	b.open("/servers/band")
	b.click("Delete…")
	b.write("name", "band")
	b.write("passphrase", "five random words")
	b.click("Delete for good")
	b.waitFor("band was deleted.")
	b.click("Sign out")
	b.waitFor("Open the console")
}

// forgetExamination makes the doctor's page that of a relay that has just started.
func (c *testConsole) forgetExamination() {
	d := &c.doctor
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begun, d.ended, d.checks, d.done = time.Time{}, time.Time{}, nil, nil
}

// testOtherPort lets another program of this machine have pages on the same host.
func testOtherPort(t *testing.T, c *testConsole, ctx context.Context) {
	c.addServer(manager.NewServer{Name: "target", Autostart: true})
	var mu sync.Mutex
	var cookies []string
	visited := make(chan string, 16)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		cookies = append(cookies, r.Header["Cookie"]...)
		mu.Unlock()
		w.Header().Set("Content-Type", "text/html")
		// The worst case: it knows the prefix, which nobody tells it.
		fmt.Fprintf(w, `<h1>other</h1><img src="/static/style.css"><form method="post" action="http://%s%s/servers/target/stop"><button>Win a prize</button></form>`, c.addr, c.prefix)
		visited <- r.URL.Path
	}))
	defer other.Close()
	b := newTab(t, c, ctx)
	for _, path := range []string{"/", "/servers/target", "/static/style.css"} {
		b.run(chromedp.Navigate(other.URL+path), chromedp.WaitVisible(chromedp.CSS("h1")))
		<-visited
	}
	mu.Lock()
	if len(cookies) > 0 {
		t.Errorf("another program got %d cookies", len(cookies))
	}
	mu.Unlock()
	before := len(c.relay.called())
	b.click("Win a prize")
	b.waitFor("This request came from another page")
	if after := c.relay.called(); len(after) != before {
		t.Errorf("another program did %v", after[before:])
	}
}

// fillForLooks makes a relay with a bit of everything.
func fillForLooks(c *testConsole) {
	for _, n := range []manager.NewServer{
		{Name: "book-club", Description: "Novels, every second Friday", Autostart: true},
		{Name: "family", Description: "Pictures and plans", Autostart: true, Passphrase: []byte("five random words")},
		{Name: "choir", Autostart: true},
		{Name: "neighbours", Description: "Street party in June"},
		{Name: "workshop", Autostart: true},
	} {
		c.addServer(n)
	}
	c.relay.publish("book-club", 0)
	c.charts.addSamples(c.relay.Status(context.Background()), time.Now().Add(-24*time.Hour))
	for hour := range 24 {
		c.relay.update(func() { c.relay.posts["book-club"] += uint64(hour*hour*7%41 + 2) })
		c.relay.publish("book-club", 18_240)
		c.charts.addSamples(c.relay.Status(context.Background()), time.Now().Add(time.Duration(hour-23)*time.Hour))
	}
	c.relay.update(func() {
		c.relay.servers[1].State, c.relay.servers[1].keys = manager.StateLocked, nil
		c.relay.servers[4].State, c.relay.servers[4].Unreadable = manager.StateFailed, true
		c.relay.servers[4].Problem = "server \"workshop\" in servers.d/workshop.hcl:3: there is no option max_agee; did you mean max_age?"
		c.relay.servers[4].Storage = supervise.Status{}
		c.relay.servers[1].Storage.State, c.relay.servers[2].Storage.State, c.relay.servers[3].Storage.State = supervise.Stopped, supervise.Ready, supervise.Stopped
		s := &c.relay.servers[0].Storage
		at := time.Now().Add(-20 * time.Minute)
		s.Restarts, s.LastError, s.LastErrorAt = 1, "the process ended: signal: killed", &at
	})
	c.logLine("change", "change", "add", "server", "choir", "from", "console")
	c.cfg.Logger.Warn("a publication failed, will try again", "server", "choir", "error", "no circuits yet")
	c.logLine("the console is open", "listen", c.addr)
}

func testLooks(t *testing.T, c *testConsole, ctx context.Context) {
	axe := fetchAxe(t)
	b := newTab(t, c, ctx)
	b.lookAt("empty", axe, func() { b.open("/") })
	b.lookAt("tor-connecting", axe, func() {
		c.relay.update(func() {
			c.relay.network.State, c.relay.network.Progress, c.relay.network.Summary = onion.Bootstrapping, 45, "Loading relay descriptors"
		})
		b.open("/tor")
	})
	c.relay.update(func() { c.relay.network.State, c.relay.network.Progress = onion.Ready, 100 })
	fillForLooks(c)
	for name, path := range map[string]string{
		"servers": "/", "server": "/servers/book-club", "publishing": "/servers/choir", "locked": "/servers/family", "failed": "/servers/workshop", "add": "/add",
		"edit": "/servers/book-club/edit", "passphrase": "/servers/family/passphrase", "delete": "/servers/book-club/delete",
		"plugins": "/plugins", "tor": "/tor", "doctor": "/doctor", "log": "/log", "missing": "/servers/nothing",
	} {
		b.lookAt(name, axe, func() { b.open(path) })
	}
	b.lookAt("mistakes", axe, func() {
		b.open("/add")
		b.write("name", "Book Club")
		b.run(chromedp.Click(chromedp.CSS("#protect")))
		b.write("passphrase", "short")
		b.click("Add server")
		b.waitFor("Please correct")
	})
	b.lookAt("stale", axe, func() {
		b.open("/servers/book-club/edit")
		c.relay.update(func() {
			c.relay.servers[0].Description += "."
		})
		b.run(chromedp.SetValue(chromedp.CSS("#description"), "Poems"))
		b.click("Save")
		b.waitFor("Somebody has changed this server")
	})
	failure := httptest.NewServer(handleFailure("/x/", []Fault{
		{"the configuration has a mistake in /home/ada/.config/cwtch-relay/server.hcl, line 3: there is no block consol", "did you mean console?"},
	}, nil))
	defer failure.Close()
	b.lookAt("failure", axe, func() {
		b.run(chromedp.Navigate(failure.URL+"/x/"), chromedp.WaitVisible(chromedp.CSS("h1")))
	})
	b.lookAt("welcome", axe, func() {
		b.run(chromedp.Navigate("http://"+c.addr+"/"), chromedp.WaitVisible(chromedp.CSS("h1")))
	})
}

// lookAt takes pictures of a page, narrow and wide, light and dark. axe checks it narrow
// and light, and wide and dark.
func (b *tab) lookAt(name, axe string, open func()) {
	b.t.Helper()
	open()
	for _, width := range []int64{360, 1280} {
		for _, scheme := range []string{"light", "dark"} {
			b.run(call(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 800, DeviceScaleFactor: 1, Mobile: width < 600}),
				call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}))
			where := fmt.Sprintf("%s-%d-%s", name, width, scheme)
			if overflow := result(b, chromedp.Evaluate[int]("document.scrollingElement.scrollWidth - innerWidth")); overflow > 0 {
				b.t.Errorf("%s is %d pixels too wide", where, overflow)
			}
			if (width == 360) == (scheme == "light") { // the others have the same elements, colours and sizes
				b.checkWithAxe(where, axe)
			}
			b.takePicture(where)
		}
	}
}

func (b *tab) checkWithAxe(where, axe string) {
	b.t.Helper()
	b.run(chromedp.Evaluate[chromedp.Void](axe))
	found := result(b, chromedp.Evaluate[string](`axe.run().then((found) => JSON.stringify(found.violations.map((v) =>
		({ Rule: v.id, Help: v.help, Where: v.nodes.map((n) => n.html + " " + n.failureSummary) }))))`, chromedp.EvalAwaitPromise))
	var violations []struct {
		Rule, Help string
		Where      []string
	}
	if err := json.Unmarshal([]byte(found), &violations); err != nil {
		b.t.Fatal(err)
	}
	for _, v := range violations {
		b.t.Errorf("%s: axe finds %s (%s): %s", where, v.Rule, v.Help, strings.Join(v.Where, "; "))
	}
}

func (b *tab) takePicture(where string) {
	b.t.Helper()
	picture := result(b, chromedp.FullScreenshot(100))
	dir := filepath.Join(cacheDir, "screenshots")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, where+".png"), picture, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// fetchAxe returns the script of axe-core, which npm fetches once.
func fetchAxe(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(cacheDir, "axe-core")
	archive := filepath.Join(dir, "axe-core-"+axeVersion+".tgz")
	if _, err := os.Stat(archive); err != nil {
		if _, err := exec.LookPath("npm"); err != nil {
			missing(t, "npm, which fetches axe-core,")
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("npm", "pack", "--silent", "--pack-destination", dir, "axe-core@"+axeVersion).CombinedOutput(); err != nil {
			t.Fatalf("npm pack axe-core: %v\n%s", err, out)
		}
	}
	packed, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha512.Sum512(packed); base64.StdEncoding.EncodeToString(sum[:]) != axeIntegrity {
		t.Fatalf("%s is not axe-core %s: remove it", archive, axeVersion)
	}
	return unpackFile(t, packed, "package/axe.min.js")
}

// unpackFile returns one file of an archive.
func unpackFile(t *testing.T, archive []byte, name string) string {
	t.Helper()
	unzipped, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	for files := tar.NewReader(unzipped); ; {
		h, err := files.Next()
		if err != nil {
			t.Fatalf("%s is not in the archive: %v", name, err)
		}
		if h.Name == name {
			text, err := io.ReadAll(files)
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
	}
}
