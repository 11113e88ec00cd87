package console

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	keyLifetime = 5 * time.Minute // of a key that nobody has used
	maxKeys     = 16              // outstanding; the oldest goes first

	sessionLifetime = 12 * time.Hour
	sessionIdle     = 2 * time.Hour
	maxSessions     = 64 // the one that was idle longest goes first

	// Wrong keys are answered that often. A right one is never refused.
	wrongKeyBurst = 10
	wrongKeyEvery = time.Second

	cookieName = "cwtch_relay_session"
)

// hash is the SHA-256 of a secret. Secrets are looked up by their hash, so that the time
// of a look-up tells nothing about them.
type hash [sha256.Size]byte

func hashOf(text string) hash { return sha256.Sum256([]byte(text)) }

// randomText returns n random bytes in letters that need no quoting in a URL.
func randomText(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// keys are the one-time keys that were handed out and not used.
type keys struct {
	wrong *rate.Limiter

	mu     sync.Mutex
	issued map[hash]issuedKey
}

// issuedKey is what is remembered of a key.
type issuedKey struct {
	at      time.Time
	ownOnly bool // it is void for other users of this machine
}

func (k *keys) init() {
	k.wrong = rate.NewLimiter(rate.Every(wrongKeyEvery), wrongKeyBurst)
	k.issued = make(map[hash]issuedKey)
}

// addKey returns a new key.
func (k *keys) addKey(ownOnly bool) string {
	key := randomText(32)
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.issued) >= maxKeys {
		var oldest hash
		var at time.Time
		for h, one := range k.issued {
			if at.IsZero() || one.at.Before(at) {
				oldest, at = h, one.at
			}
		}
		delete(k.issued, oldest)
	}
	k.issued[hashOf(key)] = issuedKey{time.Now(), ownOnly}
	return key
}

// findKey returns what is remembered of a key that is valid.
func (k *keys) findKey(key string) (found issuedKey, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	found, ok = k.issued[hashOf(key)]
	return found, ok && time.Since(found.at) < keyLifetime
}

// useKey reports whether a key is valid, and makes it void.
func (k *keys) useKey(key string) bool {
	h := hashOf(key)
	k.mu.Lock()
	defer k.mu.Unlock()
	found, ok := k.issued[h]
	delete(k.issued, h)
	return ok && time.Since(found.at) < keyLifetime
}

// IssueKey returns the path of an address that signs one browser in, once and within five
// minutes. The path is a secret until then.
func (c *Console) IssueKey() string { return "/open/" + c.keys.addKey(false) }

// IssueOwnKey is like [Console.IssueKey], for a browser of the user of the relay on the same
// machine. Others who see the address, such as in the list of processes, get nothing with it and
// do not use it up. Where the system does not say whose a connection is, the key is like any.
func (c *Console) IssueOwnKey() string { return "/open/" + c.keys.addKey(canTellUsers()) }

// session is one browser that has signed in.
type session struct {
	secret  []byte // signs the tokens of its forms
	created time.Time

	mu     sync.Mutex
	seen   time.Time // last use by a person
	notice notice    // for the next page
	forms  submissions
}

func (s *session) expired(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Sub(s.created) >= sessionLifetime || now.Sub(s.seen) >= sessionIdle
}

func (s *session) touch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = time.Now()
}

// notice is what a page says at its top.
type notice struct {
	Text string
	Bad  bool // something did not work
}

func (s *session) setNotice(n notice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notice = n
}

func (s *session) takeNotice() notice {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.notice
	s.notice = notice{}
	return n
}

// sign returns the signature of a text that only this session can make.
func (s *session) sign(text string) []byte {
	mac := hmac.New(sha256.New, s.secret)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// sessions are the browsers that have signed in. They end with the relay.
type sessions struct {
	mu   sync.Mutex
	open map[hash]*session
}

func (s *sessions) init() { s.open = make(map[hash]*session) }

// addSession returns the secret of a new session.
func (s *sessions) addSession() string {
	id, now := randomText(32), time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var longestIdle hash
	var at time.Time
	for h, old := range s.open {
		if old.expired(now) {
			delete(s.open, h)
		} else if seen := old.lastSeen(); at.IsZero() || seen.Before(at) {
			longestIdle, at = h, seen
		}
	}
	if len(s.open) >= maxSessions {
		delete(s.open, longestIdle)
	}
	s.open[hashOf(id)] = &session{secret: []byte(randomText(32)), created: now, seen: now}
	return id
}

func (s *session) lastSeen() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// findSession returns the session of a request, or nil. Other programs on this host can set a
// cookie of the same name, so all of that name are tried.
func (s *sessions) findSession(r *http.Request) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cookie := range r.CookiesNamed(cookieName) {
		h := hashOf(cookie.Value)
		found := s.open[h]
		if found != nil && !found.expired(time.Now()) {
			return found
		}
		delete(s.open, h)
	}
	return nil
}

// endSession ends a session, whose cookie is worth nothing from now on.
func (s *sessions) endSession(ended *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for h, one := range s.open {
		if one == ended {
			delete(s.open, h)
		}
	}
}

// setCookie gives the browser its session. An empty one takes it away.
func (c *Console) setCookie(w http.ResponseWriter, value string, lifetime time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: value, Path: c.prefix + "/", HttpOnly: true, SameSite: http.SameSiteStrictMode,
		MaxAge: int(lifetime.Seconds()), // negative: at once
	})
}

// isAhead reports whether a browser makes a request before its user has asked for the page.
// The names are those of today and of older browsers.
func isAhead(r *http.Request) bool {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		if r.Header.Get(name) != "" {
			return true
		}
	}
	return false
}

// openSession exchanges a one-time key for a session. It answers with a page that leads
// on, not with a redirect: a browser that comes from another site, such as a mail, does
// not send a SameSite=Strict cookie along a redirect.
func (c *Console) openSession(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead || isAhead(r) {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	key := r.PathValue("key")
	if found, ok := c.keys.findKey(key); ok && found.ownOnly && !comesFrom(r, c.user) {
		if c.keys.wrong.Allow() {
			c.log.Warn("another user of this machine has tried an address of the console, and was refused")
		}
		c.renderPlain(w, http.StatusForbidden, "message", messagePage{"Not for this user", "This address opens the console for the user of the relay only. As another user, ask for one with: cwtch-relay console"})
		return
	}
	if !c.keys.useKey(key) {
		if !c.keys.wrong.Allow() {
			w.Header().Set("Retry-After", "10")
			c.renderPlain(w, http.StatusTooManyRequests, "message", messagePage{"Too many tries", "Wait ten seconds, then ask for a new address."})
			return
		}
		c.renderPlain(w, http.StatusForbidden, "welcome", welcomePage{KeyUsed: true})
		return
	}
	keepConnection(r.Context())
	c.setCookie(w, c.sessions.addSession(), sessionLifetime)
	c.log.Info("a browser has signed in to the console")
	c.renderPlain(w, http.StatusOK, "opened", openedPage{To: c.prefix + "/"})
}

// closeSession signs the browser out.
func (c *Console) closeSession(v *visit) {
	if !v.checkToken() {
		return
	}
	c.sessions.endSession(v.session)
	c.setCookie(v.w, "", -time.Second)
	c.log.Info("a browser has signed out of the console")
	http.Redirect(v.w, v.r, "/", http.StatusSeeOther)
}
