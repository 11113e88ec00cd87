// Package profile keeps what one person's cwtch-group knows: who they are, the
// servers and groups they use, and their unspent tokens. It is for cwtch-group
// alone.
//
// A profile is a directory:
//
//	profile.json   everything below; mode 0600, replaced as a whole
//	lock           held while profile.json is read and replaced
//	post.lock      held while a command posts; see [Profile.LockPosting]
//	bot-ID.json    what the bot of a group knows; see [Bot]
//	bot-ID.lock    held by the bot
//	tor/           data directory of tor, so that the next start is fast
//	tor.lock       held while a tor uses it
//
// # Guarantees
//
//   - An update is seen whole or not at all, also after a crash, and it is on
//     disk when [Profile.Update] returns.
//   - Commands may run at the same time. Each update starts from what the last
//     one wrote, and the lock is held for one update, never for a conversation.
//   - A token is gone from the profile, durably, before anybody can use it. A
//     crash may lose a token; it never leads to one being spent twice.
//   - A server keeps the keys it was first imported with.
//   - A position on a board only moves forward, whichever command saves last.
//   - A member's name is on disk before it is first shown, stays for good, and goes
//     to no other member of the group.
//   - Only [Create] makes a profile, and with it an identity.
//
// # Caveats
//
// The file is not encrypted: whoever can read it can pose as the person, in every
// group.
package profile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/filelock"
	"github.com/cwtch-relay/cwtch-relay/sdk/ownership"
)

// lockWait bounds the wait for an update of another command, which takes milliseconds.
const lockWait = 10 * time.Second

// Profile is a directory. It holds no state of its own, so any number may be
// open for the same directory, in any number of processes.
type Profile struct{ dir string }

// Reasons for which [Open] and [Create] refuse.
var (
	// ErrNoProfile means that there is no profile in a directory.
	ErrNoProfile = errors.New("no such profile")
	// ErrLost means that a directory holds the rest of a profile without its
	// profile.json, and so without the identity.
	ErrLost = errors.New("profile.json is missing from the profile")
	// ErrExists means that the profile exists already.
	ErrExists = errors.New("the profile exists already")
)

// Open opens the profile in a directory. Without a profile the error is
// [ErrNoProfile], or [ErrLost] when the rest of one is there.
func Open(dir string) (*Profile, error) {
	p := &Profile{dir}
	if err := p.checkDir(); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open profile: %w: %s", ErrNoProfile, dir)
	} else if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(p.filePath()); !errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if _, err := os.Lstat(p.lockPath()); err == nil {
		return nil, fmt.Errorf("open profile: %w: %s", ErrLost, dir)
	}
	return nil, fmt.Errorf("open profile: %w: %s", ErrNoProfile, dir)
}

// Create makes a profile with a new identity, and the directory, with mode 0700,
// if need be. If there is a profile, the error is [ErrExists].
func Create(ctx context.Context, dir string) (*Profile, error) {
	if err := durable.MakeDir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make profile: %w", err)
	}
	p := &Profile{dir}
	if err := p.checkDir(); err != nil {
		return nil, err
	}
	lock, err := p.lockState(ctx)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if _, err := os.Lstat(p.filePath()); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("make profile: %w: %s", ErrExists, dir)
	}
	return p, writeState(p.filePath(), &State{Identity: identity.NewKey()})
}

// checkDir refuses a directory in which others could replace the profile.
func (p *Profile) checkDir() error {
	info, err := os.Stat(p.dir)
	if err != nil {
		return fmt.Errorf("open profile: %w", err)
	}
	if err := ownership.CheckMode(p.dir, info, 0o022, "profile.json", "lock"); err != nil {
		return fmt.Errorf("open profile: %w", err)
	}
	if ownership.UID(info) == os.Geteuid() && info.Mode().Perm()&0o700 != 0o700 && os.Geteuid() != 0 {
		return fmt.Errorf("open profile: %s", ownership.NotWritable(p.dir))
	}
	return nil
}

// View returns the state after the last update.
func (p *Profile) View() (*State, error) { return loadState(p.filePath()) }

// Update calls change with the state and writes the changed state. If change
// returns an error, Update writes nothing and returns the error as it is. ctx
// bounds the wait for the lock.
func (p *Profile) Update(ctx context.Context, change func(*State) error) error {
	lock, err := p.lockState(ctx)
	if err != nil {
		return err
	}
	defer lock.Close()
	s, err := loadState(p.filePath())
	if err != nil {
		return err
	}
	if err := change(s); err != nil {
		return err
	}
	return writeState(p.filePath(), s)
}

// TakeToken removes a token of a server and returns it; ok is false if there is
// none.
func (p *Profile) TakeToken(ctx context.Context, board identity.Onion) (t token.Token, ok bool, err error) {
	err = p.Update(ctx, func(s *State) error {
		server, err := s.Server(board)
		if err != nil {
			return err
		}
		if n := len(server.Tokens); n > 0 {
			t, ok = server.Tokens[n-1], true
			server.Tokens = server.Tokens[:n-1]
		}
		return nil
	})
	return t, ok && err == nil, err
}

// AddTokens keeps tokens for later.
func (p *Profile) AddTokens(ctx context.Context, board identity.Onion, tokens []token.Token) error {
	return p.Update(ctx, func(s *State) error {
		server, err := s.Server(board)
		if err != nil {
			return err
		}
		server.Tokens = append(server.Tokens, tokens...)
		return nil
	})
}

// TorDir returns a data directory for a tor that the caller runs, until it calls
// release. It is the directory of the profile, or an empty one while another command
// uses that.
func (p *Profile) TorDir() (dir string, release func(), err error) {
	lock, err := filelock.Open(filepath.Join(p.dir, "tor.lock"))
	if errors.Is(err, filelock.ErrLocked) {
		if dir, err = os.MkdirTemp("", "cwtch-group-tor-"); err != nil {
			return "", nil, fmt.Errorf("make tor directory: %w", err)
		}
		return dir, func() { os.RemoveAll(dir) }, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("lock tor directory: %w", err)
	}
	dir = filepath.Join(p.dir, "tor")
	if err := durable.MakeDir(dir, 0o700); err != nil {
		lock.Close()
		return "", nil, fmt.Errorf("make tor directory: %w", err)
	}
	return dir, func() { lock.Close() }, nil
}

// lockState locks profile.json, waiting for other commands. The lock ends with the
// process.
func (p *Profile) lockState(ctx context.Context) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	f, err := filelock.OpenWait(ctx, p.lockPath())
	if err != nil {
		return nil, fmt.Errorf("lock profile: %w", err)
	}
	return f, nil
}

func (p *Profile) filePath() string { return filepath.Join(p.dir, "profile.json") }
func (p *Profile) lockPath() string { return filepath.Join(p.dir, "lock") }
