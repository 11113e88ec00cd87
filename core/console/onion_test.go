package console

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

// testOnion is the onion name of the console under test.
var testOnion = strings.Repeat("a", 56) + ".onion"

// Under its onion name the console takes forms from its own pages, with and without what only
// some browsers send, and from nobody else's.
func TestFormsAtTheOnion(t *testing.T) {
	c := startConsole(t)
	name := testOnion
	b := c.signIn()
	for i, test := range []struct {
		name, host, origin, site string
		status                   int
	}{
		{"old browser", name, "http://" + name, "", http.StatusSeeOther},
		{"Tor Browser", name, "http://" + name, "same-origin", http.StatusSeeOther},
		{"with a port", name + ":80", "http://" + name, "same-origin", http.StatusSeeOther},
		{"another onion", name, "http://" + strings.Repeat("b", 56) + ".onion", "cross-site", http.StatusForbidden},
		{"another onion, old browser", name, "http://" + strings.Repeat("b", 56) + ".onion", "", http.StatusForbidden},
		{"a name below it", "www." + name, "http://www." + name, "same-origin", http.StatusMisdirectedRequest},
		{"another name", strings.Repeat("b", 56) + ".onion", "", "", http.StatusMisdirectedRequest},
	} {
		server := fmt.Sprintf("/servers/club-%d", i)
		c.addServer(manager.NewServer{Name: server[len("/servers/"):], Autostart: true})
		form := b.form(server, server+"/stop").Encode()
		a := b.do(http.MethodPost, c.prefix+server+"/stop", strings.NewReader(form), func(r *http.Request) {
			for _, cookie := range b.client.Jar.Cookies(r.URL) { // the jar goes by the host
				r.AddCookie(cookie)
			}
			r.Host = test.host
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			for header, value := range map[string]string{"Origin": test.origin, "Sec-Fetch-Site": test.site} {
				if value != "" {
					r.Header.Set(header, value)
				}
			}
		})
		if a.status != test.status {
			t.Errorf("%s: status %d, want %d", test.name, a.status, test.status)
		}
	}
}

// The cookie is not bound to https, which an onion service has no need of.
func TestCookieAtTheOnion(t *testing.T) {
	c := startConsole(t)
	name := testOnion
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+name+c.IssueKey(), nil)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	cookies := w.Result().Cookies()
	if w.Code != http.StatusOK || len(cookies) != 1 || cookies[0].Secure || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteStrictMode || cookies[0].Domain != "" {
		t.Errorf("status %d, cookies %+v", w.Code, cookies)
	}
}
