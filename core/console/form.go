package console

import (
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

// maxSubmissions bounds how many forms of a session are remembered as sent.
const maxSubmissions = 256

// form is a form as a page shows it: empty, or as it was sent and with what is wrong.
type form struct {
	Token   string
	Values  map[string]string
	Errors  map[string]string // by field
	Problem string            // what is wrong with no field in particular
	Stale   bool              // it was made from values that have changed since
}

// newForm returns a form with a token of its own.
func (v *visit) newForm(values map[string]string) form {
	return form{Token: v.session.newToken(), Values: values, Errors: map[string]string{}}
}

// refuse notes what is wrong with a field.
func (f *form) refuse(field, text string) {
	if f.Errors[field] == "" {
		f.Errors[field] = text
	}
}

func (f form) faulty() bool { return len(f.Errors) > 0 || f.Problem != "" || f.Stale }

// status is that of the answer which shows a form again.
func (f form) status() int {
	switch {
	case f.Stale:
		return http.StatusConflict
	case f.faulty():
		return http.StatusUnprocessableEntity
	}
	return http.StatusOK
}

// refuseError notes the error of a change beside the field that it concerns.
func (f *form) refuseError(err error, passphraseField string) {
	field, many := new(manager.FieldError), new(manager.TooManyAttemptsError)
	switch {
	case err == nil:
	case errors.As(err, &field):
		f.refuse(field.Field, capitalize(field.Text))
	case errors.As(err, &many):
		f.refuse(passphraseField, fmt.Sprintf("Too many wrong passphrases. Wait %s, then try again.", formatWait(many.RetryAfter)))
	case errors.Is(err, identity.ErrWrongPassphrase):
		f.refuse(passphraseField, "This is not the passphrase of the server.")
	default:
		f.Problem = capitalize(err.Error())
	}
}

// newToken returns a token for one form: a random part, and the proof that this session
// got it. Nothing is remembered until it comes back.
func (s *session) newToken() string {
	nonce := randomText(16)
	return nonce + "." + base64.RawURLEncoding.EncodeToString(s.sign("form "+nonce))
}

func (s *session) ownsToken(token string) bool {
	nonce, signature, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(signature)
	return err == nil && hmac.Equal(raw, s.sign("form "+nonce))
}

// checkToken reports whether the form was made for this session. If not, the browser has
// its answer.
func (v *visit) checkToken() bool {
	if v.session.ownsToken(v.value("token")) {
		return true
	}
	v.renderMessage(http.StatusForbidden, "This form is too old", "It was made for another visit. Nothing was changed; open the page again.")
	return false
}

// submissions remembers the forms that were sent, so that each counts once.
type submissions struct {
	mu    sync.Mutex
	sent  map[string]*submission
	order []string // of tokens, the oldest first
}

type submission struct {
	done chan struct{} // closed when the first sending is over
	path string        // where it led; empty if the form was shown again
}

// begin returns the submission of a token, and whether this is the first sending.
func (s *submissions) begin(token string) (sub *submission, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sub, ok := s.sent[token]; ok {
		return sub, false
	}
	if s.sent == nil {
		s.sent = make(map[string]*submission)
	}
	sub = &submission{done: make(chan struct{})}
	s.sent[token] = sub
	s.order = append(s.order, token)
	if len(s.order) > maxSubmissions {
		delete(s.sent, s.order[0])
		s.order = s.order[1:]
	}
	return sub, true
}

// submit does what a form asks for, once. A second sending waits for the first and gets
// the same answer. serve returns the path of the page that shows the result; empty if it
// has answered itself, with the form and what is wrong with it.
func (v *visit) submit(serve func() (path string)) {
	if !v.checkToken() {
		return
	}
	sub, first := v.session.forms.begin(v.value("token"))
	if first {
		defer close(sub.done)
		if sub.path = serve(); sub.path != "" {
			v.redirect(sub.path)
		}
		return
	}
	select {
	case <-sub.done:
	case <-v.r.Context().Done():
		return
	}
	if sub.path == "" {
		v.renderMessage(http.StatusConflict, "Sent twice", "The form was sent twice, and there is something to correct in it. Go back, or open the page again.")
		return
	}
	v.redirect(sub.path)
}

// formatWait returns a duration for people, never less than a second.
func formatWait(d time.Duration) string {
	seconds := max(1, int(d.Round(time.Second).Seconds()))
	if seconds == 1 {
		return "1 second"
	}
	return fmt.Sprintf("%d seconds", seconds)
}
