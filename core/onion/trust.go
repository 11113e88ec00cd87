package onion

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strconv"
	"syscall"

	"github.com/cwtch-relay/cwtch-relay/sdk/ownership"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

// trust has the users whose sockets and files are trusted: root, the user of this
// process, and the user of tor, if the operator names it.
type trust struct{ uids []int }

// newTrust looks up the user of tor, by name or number. An empty torUser adds nobody.
func newTrust(torUser string) (trust, error) {
	t := trust{[]int{0, os.Geteuid()}}
	if torUser == "" {
		return t, nil
	}
	uid, err := strconv.Atoi(torUser)
	if err != nil {
		u, err := user.Lookup(torUser)
		if err != nil {
			return t, fmt.Errorf("user of tor %q: %w", torUser, err)
		}
		if uid, err = strconv.Atoi(u.Uid); err != nil {
			return t, fmt.Errorf("user of tor %q: %w", torUser, err)
		}
	}
	t.uids = append(t.uids, uid)
	return t, nil
}

// checkOwner refuses what belongs to another user.
func (t trust) checkOwner(uid int, what string) error {
	if slices.Contains(t.uids, uid) {
		return nil
	}
	return fmt.Errorf("%s belongs to user %s (%d), who is neither root nor the user of this process (%d): "+
		"if tor runs as that user, name it with control_user (cwtch-group: -tor-control-user); if not, do not connect to it",
		what, ownership.UserName(uid), uid, os.Geteuid())
}

// resolveTrusted follows an absolute path and refuses one that a user who is not
// trusted could have made or could change. The path that it returns has no links.
func (t trust) resolveTrusted(path string) (string, fs.FileInfo, error) {
	at, info, err := ownership.ResolveTrusted(path, t.uids)
	switch exposed, ok := errors.AsType[*ownership.ExposedError](err); {
	case !ok:
		return at, info, err
	case exposed.Writable:
		return "", nil, fmt.Errorf("%w, who could put a socket or cookie of their own there: choose another directory, or let only owners remove what is in it: %s", err, pathname.Command("sudo", "chmod", "+t", exposed.Path))
	default:
		return "", nil, t.checkOwner(exposed.Owner, exposed.Path)
	}
}

// cookieSize is the length of tor's cookie in bytes (control-spec, AUTHENTICATE).
const cookieSize = 32

// readCookie reads a cookie that only trusted users can have written, and that not
// everybody can read.
func (t trust) readCookie(path string) ([]byte, error) {
	path, _, err := t.resolveTrusted(path)
	if err != nil {
		return nil, err
	}
	// O_NONBLOCK so that a named pipe does not hold us up before it is refused.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := t.checkOwner(ownership.UID(info), path); err != nil {
		return nil, err
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o026 != 0 {
		return nil, fmt.Errorf("%s has mode %v: it has to be a file that only its owner can write and not everybody can read, as tor makes it", path, mode)
	}
	cookie := make([]byte, cookieSize+1)
	n, err := io.ReadFull(f, cookie)
	if n != cookieSize || !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%s does not hold the %d bytes of a cookie", path, cookieSize)
	}
	return cookie[:cookieSize], nil
}
