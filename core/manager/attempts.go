package manager

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

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
	byServer map[string]*rate.Limiter // only servers that exist
}

// beginAttempt begins an attempt, which done ends. Its error is a [TooManyAttemptsError].
func (a *attempts) beginAttempt(name string) (done func(), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.running >= attemptsWaiting {
		return nil, &TooManyAttemptsError{time.Second}
	}
	limiter := a.byServer[name]
	if limiter == nil {
		limiter = rate.NewLimiter(rate.Every(attemptEvery), attemptsAtOnce)
		if a.byServer == nil {
			a.byServer = make(map[string]*rate.Limiter)
		}
		a.byServer[name] = limiter
	}
	if r := limiter.Reserve(); r.Delay() > 0 {
		wait := r.Delay()
		r.Cancel()
		return nil, &TooManyAttemptsError{(wait + time.Second - 1).Truncate(time.Second)}
	}
	a.running++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.running--
	}, nil
}

// forgetServer forgets a server that is gone.
func (a *attempts) forgetServer(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.byServer, name)
}

// unlockKeys tries a passphrase.
func (m *Manager) unlockKeys(k knownServer, passphrase []byte) (*identity.Server, error) {
	done, err := m.attempts.beginAttempt(k.name)
	if err != nil {
		return nil, err
	}
	defer done()
	return identity.Unlock(keysPath(k.dir), passphrase)
}
