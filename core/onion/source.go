package onion

import (
	"context"
	"net"

	"github.com/cretz/bine/control"
)

// source makes sessions with a tor, one after the other.
type source interface {
	// startSession starts tor or connects to it, and returns when tor answers. The
	// session before must be closed.
	startSession(ctx context.Context, handle func(*session, control.Event)) (*session, error)

	// listenService opens a listener that tor can connect to. target names it in
	// ADD_ONION.
	listenService() (ln net.Listener, target string, err error)

	// closeSource removes what the source has in the file system. The last session
	// must be closed.
	closeSource() error
}
