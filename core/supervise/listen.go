package supervise

import (
	"context"
	"errors"
	"regexp"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

// openListeners opens the listeners of s. What is open already stays as it is over
// restarts of the process, so that whoever connects meanwhile waits and is not
// refused.
func (c *loop) openListeners(ctx context.Context, s *setting) ([]pluginproc.Listener, error) {
	var out []pluginproc.Listener
	for _, at := range s.Listen {
		if err := pluginproc.CheckListen(at, s.ListenAnywhere); err != nil {
			return nil, fatalError{err}
		}
		l, ok := c.listeners[at.Address]
		if ok && !l.Open() {
			l.Close()
			delete(c.listeners, at.Address)
			ok = false
		}
		if !ok {
			var err error
			if l, err = pluginproc.Listen(ctx, at, s.ListenAnywhere); isTaken(err) {
				return nil, err
			} else if err != nil {
				return nil, fatalError{err}
			}
			c.listeners[at.Address] = l
		}
		l.ListenAddress = at
		out = append(out, l)
	}
	if c.waiting { // nothing had ended
		c.waiting = false
		c.ends.resetFailures()
		c.unmuteLog()
	}
	return out, nil
}

// isTaken reports whether a plugin could not be started because its address cannot be
// had now. It is tried again for as long as that takes: no process has failed.
func isTaken(err error) bool {
	_, taken := errors.AsType[*pluginproc.ListenError](err)
	return taken
}

// closeListeners closes those that the setting in use does not ask for.
func (c *loop) closeListeners(wanted []plugin.ListenAddress) {
	keep := make(map[string]bool)
	for _, at := range wanted {
		keep[at.Address] = true
	}
	for address, l := range c.listeners {
		if !keep[address] {
			l.Close()
			delete(c.listeners, address)
		}
	}
}

// refusedSocket is what libraries say when the sandbox lets them open no socket
// of the network.
var refusedSocket = regexp.MustCompile(`(?i)\bsocket: operation not permitted|\blisten .*: (operation not permitted|permission denied)`)

// listenHint explains that to the operator of a plugin which listens by itself.
func listenHint(err error) error {
	return errors.Join(err, errors.New("no plugin opens sockets of the network: use a version of it that declares its address as a listener in its schema, which the relay then opens"))
}
