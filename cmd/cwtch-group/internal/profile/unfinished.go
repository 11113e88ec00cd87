package profile

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
	"github.com/cwtch-relay/cwtch-relay/sdk/filelock"
)

// Unfinished is how far a command got that posts a text as one or more messages.
// The same command, given again, goes on from there.
//
// It holds a keyed hash in place of the text, which the command brings along.
type Unfinished struct {
	Key, Hash []byte
	Begun     time.Time
	// Position is how far the board was read before the first message. A replay
	// from there shows whether Pending was stored.
	Position client.Position `json:"Place"`
	Done     int             // messages that are stored
	Pending  *wire.Envelope  // the next message, once it may have been sent
}

// resumeWithin is how long a text counts as unfinished. Later the same words are
// a new text.
const resumeWithin = 24 * time.Hour

// NewUnfinished returns the beginning of a post to a board that was read up to p.
func NewUnfinished(messages []string, now time.Time, p client.Position) *Unfinished {
	u := &Unfinished{Key: make([]byte, 16), Begun: now, Position: p}
	rand.Read(u.Key) // never fails
	u.Hash = u.hashText(messages)
	return u
}

// Fits reports whether u is about these messages, and recent.
func (u *Unfinished) Fits(messages []string, now time.Time) bool {
	age := now.Sub(u.Begun)
	return age >= 0 && age < resumeWithin && u.Done >= 0 && u.Done < len(messages) && bytes.Equal(u.Hash, u.hashText(messages))
}

func (u *Unfinished) hashText(messages []string) []byte {
	h := sha256.New()
	h.Write(u.Key)
	h.Write([]byte(strings.Join(messages, "\x00")))
	return h.Sum(nil)
}

// SaveUnfinished keeps how far the post to a group is; nil means complete.
func (p *Profile) SaveUnfinished(ctx context.Context, group [16]byte, u *Unfinished) error {
	return p.Update(ctx, func(s *State) error {
		g, err := s.Group(group)
		if err == nil {
			g.Unfinished = u
		}
		return err
	})
}

// LockPosting makes the caller the only command that resumes and records posts
// of this profile, until it calls release. ok is false while another command
// is that.
func (p *Profile) LockPosting() (release func(), ok bool, err error) {
	lock, err := filelock.Open(filepath.Join(p.dir, "post.lock"))
	switch {
	case errors.Is(err, filelock.ErrLocked):
		return func() {}, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("lock profile: %w", err)
	}
	return func() { lock.Close() }, true, nil
}
