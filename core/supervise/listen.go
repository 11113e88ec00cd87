package supervise

import (
	"context"
	"errors"
	"regexp"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

// openListeners opens the listeners of cfg. One that is open already stays so over
// restarts of the process: a client that connects meanwhile waits and is not refused.
func (l *loop) openListeners(ctx context.Context, cfg *Config) ([]pluginproc.Listener, error) {
	var out []pluginproc.Listener
	for _, at := range cfg.Listen {
		if err := pluginproc.CheckListen(at, cfg.ListenAnywhere); err != nil {
			return nil, fatalError{error: err}
		}
		open, ok := l.listeners[at.Address]
		if ok && !open.IsOpen() {
			open.Close()
			delete(l.listeners, at.Address)
			ok = false
		}
		if !ok {
			var err error
			if open, err = pluginproc.Listen(ctx, at, cfg.ListenAnywhere); isListenError(err) {
				return nil, err
			} else if err != nil {
				return nil, fatalError{error: err}
			}
			l.listeners[at.Address] = open
		}
		open.ListenAddress = at
		out = append(out, open)
	}
	if l.listenFailed { // and no process had failed
		l.listenFailed = false
		l.forgetFailures()
	}
	return out, nil
}

// isListenError reports whether a plugin could not be started because it cannot have its
// address now, which may pass. It is tried again for as long as that takes: no process has
// failed.
func isListenError(err error) bool {
	_, ok := errors.AsType[*pluginproc.ListenError](err)
	return ok
}

// closeListenersExcept closes all listeners but those at the wanted addresses.
func (l *loop) closeListenersExcept(wanted []plugin.ListenAddress) {
	keep := make(map[string]bool)
	for _, at := range wanted {
		keep[at.Address] = true
	}
	for address, open := range l.listeners {
		if !keep[address] {
			open.Close()
			delete(l.listeners, address)
		}
	}
}

// refusedSocket matches what libraries say when the sandbox lets them open no socket of
// the network.
var refusedSocket = regexp.MustCompile(`(?i)\bsocket: operation not permitted|\blisten .*: (operation not permitted|permission denied)`)

// explainRefusedSocket explains such an error to the operator of a plugin which listens by itself.
func explainRefusedSocket(err error) error {
	return errors.Join(err, errors.New("no plugin opens sockets of the network: use a version of it that declares its address as a listener in its schema, which the relay then opens"))
}
