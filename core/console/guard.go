package console

import (
	"errors"
	"mime"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// policy is the Content-Security-Policy of every answer: nothing from elsewhere, and no
// script or style inside a page.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// guard refuses requests that no page of the console would cause, before anything else
// looks at them.
func (c *Console) guard(next http.Handler) http.Handler {
	origins := http.NewCrossOriginProtection()
	origins.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c.renderPlain(w, http.StatusForbidden, "message", messagePage{"Not from here", "This request came from another page than the console. Nothing was changed."})
	}))
	next = origins.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		if !c.allowsHost(r.Host) {
			c.renderPlain(w, http.StatusMisdirectedRequest, "message", messagePage{"Not the console's name", "The console does not answer to this name. Use the address from cwtch-relay console."})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

// allowsHost reports whether a browser may reach the console under a name. Pages of a
// stranger, whose name suddenly means this machine, may not. The port is any: that of
// an ssh tunnel is the user's choice.
func (c *Console) allowsHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	return host == "127.0.0.1" || host == "localhost" || host == "::1" || slices.Contains(c.cfg.Hosts, host)
}

// visit is one request of a browser that has signed in.
type visit struct {
	c       *Console
	w       http.ResponseWriter
	r       *http.Request
	session *session
}

// handleVisit adds a handler below the prefix for browsers that have signed in.
func (c *Console) handleVisit(mux *http.ServeMux, pattern string, serve func(*visit)) {
	method, path, _ := strings.Cut(pattern, " ")
	mux.HandleFunc(method+" "+c.prefix+path, func(w http.ResponseWriter, r *http.Request) {
		s := c.sessions.findSession(r)
		if s == nil {
			c.renderPlain(w, http.StatusForbidden, "welcome", welcomePage{})
			return
		}
		keepConnection(r.Context())
		if r.Header.Get(liveHeader) == "" && r.Header.Get("Accept") != eventStream { // a person has asked
			s.touch()
		}
		v := &visit{c, w, r, s}
		if r.Method == http.MethodPost && !v.parseForm() {
			return
		}
		serve(v)
	})
}

// parseForm reads the form of a POST. If it returns false, the browser has its answer.
func (v *visit) parseForm() bool {
	if kind, _, _ := mime.ParseMediaType(v.r.Header.Get("Content-Type")); kind != "application/x-www-form-urlencoded" {
		v.renderMessage(http.StatusUnsupportedMediaType, "Not a form of the console", "Nothing was changed.")
		return false
	}
	if err := v.r.ParseForm(); err != nil {
		status, text := http.StatusBadRequest, "The form did not arrive whole. Nothing was changed; go back and send it again."
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			status, text = http.StatusRequestEntityTooLarge, "The form is too large. Nothing was changed; go back and shorten the texts."
		}
		v.renderMessage(status, "Not understood", text)
		return false
	}
	v.allowTime(changeTimeout + writeTimeout)
	return true
}

// allowTime lets an answer take longer than a page. The request has arrived by now; its
// deadline would end the handler.
func (v *visit) allowTime(d time.Duration) {
	control := http.NewResponseController(v.w)
	control.SetReadDeadline(time.Time{})        //nolint:errcheck // then the usual deadline applies
	control.SetWriteDeadline(time.Now().Add(d)) //nolint:errcheck // then the usual deadline applies
}

// value returns a field of the form of a POST. Fields of the address do not count.
func (v *visit) value(field string) string { return v.r.PostForm.Get(field) }

// redirect leads to another page of the console.
func (v *visit) redirect(path string) {
	http.Redirect(v.w, v.r, v.c.prefix+path, http.StatusSeeOther)
}

// routes returns all pages and actions.
func (c *Console) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /open/{key}", c.openSession)
	mux.Handle("GET /static/", serveStatic())
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		c.renderPlain(w, http.StatusOK, "welcome", welcomePage{})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		c.renderPlain(w, http.StatusNotFound, "message", messagePage{"There is no such page", "Start from the first page, or ask for a new address."})
	})
	c.handlePage(mux, "/{$}", "/events", page{"servers", c.viewServers})
	c.handlePage(mux, "/servers/{name}", "/servers/{name}/events", page{"server", c.viewServer})
	c.handlePage(mux, "/plugins", "/plugins/events", page{"plugins", c.viewPlugins})
	c.handlePage(mux, "/tor", "/tor/events", page{"tor", c.viewTor})
	c.handlePage(mux, "/log", "/log/events", page{"log", c.viewLog})
	for pattern, serve := range map[string]func(*visit){
		"GET /add":                        (*visit).showAdd,
		"POST /add":                       (*visit).addServer,
		"GET /servers/{name}/edit":        (*visit).showEdit,
		"POST /servers/{name}/edit":       (*visit).editServer,
		"POST /servers/{name}/start":      (*visit).startServer,
		"POST /servers/{name}/stop":       (*visit).stopServer,
		"POST /servers/{name}/unlock":     (*visit).unlockServer,
		"GET /servers/{name}/passphrase":  (*visit).showPassphrase,
		"POST /servers/{name}/passphrase": (*visit).changePassphrase,
		"GET /servers/{name}/delete":      (*visit).showDelete,
		"POST /servers/{name}/delete":     (*visit).deleteServer,
		"GET /servers/{name}/bundle.txt":  (*visit).saveBundle,
		"GET /servers/{name}/qr.png":      (*visit).showQR,
		"GET /log.txt":                    (*visit).saveLog,
		"POST /signout":                   c.closeSession,
	} {
		c.handleVisit(mux, pattern, serve)
	}
	if c.cfg.AtLogin != nil {
		c.handleVisit(mux, "POST /at-login", (*visit).switchAtLogin)
	}
	if c.cfg.Doctor != nil {
		c.handlePage(mux, "/doctor", "/doctor/events", page{"doctor", c.viewDoctor})
		c.handleVisit(mux, "POST /doctor", (*visit).runDoctor)
	}
	return mux
}
