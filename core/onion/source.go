package onion

import (
	"context"
	"net"

	"github.com/cretz/bine/control"
)

// source gives sessions with a tor, one after the other.
type source interface {
	// connect starts tor or connects to it, and returns when it can be asked. The
	// session before must be closed.
	startSession(ctx context.Context, handle func(*session, control.Event)) (*session, error)

	// listen opens a listener that tor can connect to, and returns how the
	// target of a service names it in ADD_ONION.
	listenService() (ln net.Listener, target string, err error)

	// close removes what the source has in the file system. The last session
	// must be closed.
	closeSource() error
}
