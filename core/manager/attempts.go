package manager

import (
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// Attempts at the passphrase of one server, over all ways in. Each costs some 64 MiB and half
// a second, one at a time.
const (
	attemptsAtOnce  = 5
	attemptEvery    = 10 * time.Second
	attemptsWaiting = 4 // of all servers together; more are refused
)

// attempts bounds the attempts at passphrases. The zero value is ready.
type attempts struct {
	mu       sync.Mutex
	running  int
	byServer map[string]time.Time // until when wrong attempts count; only servers that exist
}

// beginAttempt begins an attempt, which done ends. Its error is a [TooManyAttemptsError]. An
// attempt with the right passphrase does not count in the end: the owner may come as often as
// they like. A guesser gains nothing by that, since each wrong attempt counts as before.
func (a *attempts) beginAttempt(name string) (done func(right bool), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.running >= attemptsWaiting {
		return nil, &TooManyAttemptsError{time.Second}
	}
	now := time.Now()
	until := a.byServer[name]
	if until.Before(now) {
		until = now
	}
	if wait := until.Sub(now) - (attemptsAtOnce-1)*attemptEvery; wait > 0 {
		return nil, &TooManyAttemptsError{(wait + time.Second - 1).Truncate(time.Second)}
	}
	if a.byServer == nil {
		a.byServer = make(map[string]time.Time)
	}
	a.byServer[name] = until.Add(attemptEvery)
	a.running++
	return func(right bool) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.running--
		if until, ok := a.byServer[name]; ok && right {
			a.byServer[name] = until.Add(-attemptEvery)
		}
	}, nil
}

// forgetServer forgets a server that is gone.
func (a *attempts) forgetServer(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.byServer, name)
}

// unlockKeys tries a passphrase.
func (m *Manager) unlockKeys(k knownServer, passphrase []byte) (keys *identity.Server, err error) {
	done, err := m.attempts.beginAttempt(k.name)
	if err != nil {
		return nil, err
	}
	defer func() { done(err == nil) }()
	return identity.Unlock(keysPath(k.dir), passphrase)
}
