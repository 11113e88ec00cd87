package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

// unlockWait is how long the question for the next passphrase waits for a server to be
// published.
const unlockWait = 10 * time.Second

// unlockAtTerminal asks the person who starts the relay for the passphrase of each locked server
// that is to start with it.
func unlockAtTerminal(ctx context.Context, m *manager.Manager, log *questionedLog, next commandLine) {
	t, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer t.Close()
	for _, s := range m.Status(ctx).Servers {
		if s.State != manager.StateLocked || !s.Autostart {
			continue
		}
		if !unlockNamed(ctx, m, t, log, s.Name) {
			fmt.Fprintf(t, "server %s stays locked; unlock it later with: %s\n", s.Name, next("server", "unlock", s.Name))
		}
	}
}

// unlockNamed asks for the passphrase of a server until it is right, or the person gives up.
func unlockNamed(ctx context.Context, m *manager.Manager, t *os.File, log *questionedLog, name string) bool {
	for ctx.Err() == nil {
		passphrase, err := askSecret(ctx, t, func() {
			log.showQuestion(fmt.Sprintf("Passphrase of server %s (Enter: leave it locked): ", name))
		})
		log.endQuestion()
		if err != nil || len(passphrase) == 0 {
			return false
		}
		wait, cancel := context.WithTimeout(manager.WithOrigin(ctx, "terminal"), unlockWait)
		_, err = m.UnlockServer(wait, name, passphrase)
		cancel()
		clear(passphrase)
		switch {
		case err == nil:
			return true
		case errors.Is(err, identity.ErrWrongPassphrase):
			fmt.Fprintln(t, "This is not the passphrase.")
		default:
			fmt.Fprintf(t, "%v\n", err)
			return false
		}
	}
	return false
}

// questionedLog writes the log to standard error. A question that waits for its answer on the
// same terminal stays the last line: the log would bury it.
type questionedLog struct {
	mu       sync.Mutex
	question string // that waits for its answer
}

// showQuestion shows a question until endQuestion.
func (l *questionedLog) showQuestion(question string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.question = question
	io.WriteString(os.Stderr, question) // if that fails, the person can still type
}

func (l *questionedLog) endQuestion() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.question = ""
}

// eraseLine goes to the beginning of a line of the terminal, and erases it.
const eraseLine = "\r\x1b[K"

// Write implements [io.Writer].
func (l *questionedLog) Write(lines []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.question == "" {
		return os.Stderr.Write(lines)
	}
	io.WriteString(os.Stderr, eraseLine)
	n, err := os.Stderr.Write(lines)
	io.WriteString(os.Stderr, l.question)
	return n, err
}
