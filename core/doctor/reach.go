package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
)

// reachTimeout bounds a [Reach].
const reachTimeout = 3 * time.Minute

// Reachability says whether others can reach a server. Its JSON form is part of the status.
type Reachability struct {
	At    time.Time `json:"at"` // when that was tried last
	OK    bool      `json:"ok"` // Board and Token
	Board bool      `json:"board"`
	Token bool      `json:"token"`
	// Problem says what is wrong, on one line.
	Problem string `json:"problem,omitempty"`
	// BoardFailures and TokenFailures count the attempts in a row that have failed.
	BoardFailures int `json:"board_failures"`
	TokenFailures int `json:"token_failures"`
	// BoardRepublished and TokenRepublished count how often the onion was published anew
	// since the server was started, and Republished is when that was last.
	BoardRepublished int        `json:"board_republished"`
	TokenRepublished int        `json:"token_republished"`
	Republished      *time.Time `json:"republished,omitempty"`
}

// Reached is what came of trying to reach a server.
type Reached struct {
	Board, Token Attempt
}

// Attempt is an attempt to use one onion.
type Attempt struct {
	Took      time.Duration
	Connected bool  // so its descriptor is good, whatever Err says
	Err       error // nil: it works
}

// Reach uses both onions of a server as a client does who has the bundle and nothing else.
// The board has to authenticate, and the token service to sell a token for a proof of work.
func Reach(ctx context.Context, n onion.Network, b bundle.Bundle) Reached {
	ctx, cancel := context.WithTimeoutCause(ctx, reachTimeout, fmt.Errorf("gave up after %v", reachTimeout))
	defer cancel()
	var r Reached
	var wg sync.WaitGroup
	wg.Go(func() {
		r.Board = attempt(n, func(d client.Dialer) error {
			board, err := client.Open(ctx, d, b.Board)
			if err == nil {
				board.Close()
			}
			return err
		})
	})
	wg.Go(func() {
		r.Token = attempt(n, func(d client.Dialer) error {
			_, err := client.Buy(ctx, d, b, 1, nil)
			return err
		})
	})
	wg.Wait()
	return r
}

// attempt measures one use of an onion.
func attempt(n onion.Network, use func(client.Dialer) error) Attempt {
	d, begun := &freshDialer{network: n}, time.Now()
	err := use(d)
	return Attempt{Took: time.Since(begun), Connected: d.connected, Err: err}
}

// freshDialer dials as somebody who knows nothing of the service yet.
type freshDialer struct {
	network   onion.Inspector
	connected bool
}

// Dial implements [client.Dialer].
func (d *freshDialer) Dial(ctx context.Context, service identity.Onion, port int) (net.Conn, error) {
	conn, err := d.network.DialFresh(ctx, service, port)
	d.connected = err == nil
	return conn, err
}

// Problem says what is wrong, on one line; it is empty if nothing is.
func (r Reached) Problem() string {
	var texts []string
	for _, a := range []struct {
		name string
		Attempt
	}{{"board", r.Board}, {"token onion", r.Token}} {
		if a.Err != nil {
			texts = append(texts, a.explain(a.name))
		}
	}
	return strings.Join(texts, "; ")
}

// explain says why an attempt failed.
func (a Attempt) explain(onionName string) string {
	why := strings.Join(strings.Fields(a.Err.Error()), " ")
	if a.Connected {
		return fmt.Sprintf("the %s is reached and does not work: %s", onionName, why)
	}
	if errors.Is(a.Err, onion.ErrNotPublished) {
		why = "no directory has its descriptor"
	}
	return fmt.Sprintf("the %s cannot be reached: %s", onionName, why)
}

// Checks returns a line for each onion. network is that of the relay.
func (r Reached) Checks(server string, network onion.Status) []Check {
	how := "from outside, through circuits of its own"
	if network.Network == "loopback" {
		how = "on this machine, over the loopback network"
	}
	return []Check{
		r.Board.check(serverCheck(server, "board"), "board", fmt.Sprintf("reached %s, and authenticated", how)),
		r.Token.check(serverCheck(server, "tokens"), "token onion", fmt.Sprintf("reached %s, and sold a token for a proof of work", how)),
	}
}

func (a Attempt) check(name, onionName, good string) Check {
	switch {
	case a.Err == nil:
		return passed(name, fmt.Sprintf("%s, in %.1f s", good, a.Took.Seconds()))
	case a.Connected:
		return failed(name, a.explain(onionName), "see whether the status shows many connections, and raise the limit that is met; if it does not, restart the relay and report this")
	}
	return failed(name, a.explain(onionName), "wait: after two failures the relay publishes the onion anew, once an hour at most; if it stays, see the log, and restart the relay")
}

func serverCheck(server, what string) string { return "server " + server + ": " + what }

// CheckPublished looks whether the descriptors of a server are at directories. A service
// that is not published need not be dialled.
func CheckPublished(server string, b bundle.Bundle, network onion.Status) Check {
	name := serverCheck(server, "published")
	least := -1
	for _, o := range []struct {
		name    string
		service identity.Onion
	}{{"board", b.Board}, {"token onion", b.TokenService}} {
		s, ok := findService(network, o.service)
		if !ok || !s.Published {
			return failed(name, fmt.Sprintf("no directory has accepted the descriptor of the %s yet", o.name), "wait a minute; if it stays, see the log of the relay")
		}
		if s.Directories == 0 {
			return failed(name, fmt.Sprintf("no directory has accepted the descriptor of the %s for %d hours, so those there were have ended", o.name, int(onion.DescriptorLifetime.Hours())), "restart the relay, and see its log")
		}
		if least < 0 || s.Directories < least {
			least = s.Directories
		}
	}
	if network.Network == "loopback" {
		return passed(name, "the registry has both onions")
	}
	return passed(name, fmt.Sprintf("each descriptor is at %d directories at least", least))
}

// CheckConsole looks whether the descriptor of the console's onion service is at directories. It
// is not dialled: only the clients of the operator can. problem is what the console says of it.
func CheckConsole(service identity.Onion, problem string, network onion.Status) Check {
	const name = "console: published"
	if problem != "" {
		return failed(name, "the onion service of the console is not published: "+problem, "mend that; other ways to the console work meanwhile")
	}
	switch s, ok := findService(network, service); {
	case !ok || !s.Published:
		return failed(name, fmt.Sprintf("no directory has accepted the descriptor of %s.onion yet", service), "wait a minute; if it stays, see the log of the relay")
	case s.Directories == 0:
		return failed(name, fmt.Sprintf("no directory has accepted the descriptor of %s.onion for %d hours, so those there were have ended", service, int(onion.DescriptorLifetime.Hours())), "restart the relay, and see its log")
	default:
		return passed(name, "directories have the descriptor of its onion service, and only its clients can read it")
	}
}

func findService(network onion.Status, service identity.Onion) (onion.Service, bool) {
	for _, s := range network.Services {
		if s.Onion == service {
			return s, true
		}
	}
	return onion.Service{}, false
}

// Halted is the check of a server that is not meant to run now: it is stopped or locked.
func Halted(server, state string) Check {
	text := "it is turned off, as somebody wanted, so nothing else was tried"
	if state == "locked" {
		text = "it is locked, and starts when it gets its passphrase; nothing else was tried"
	}
	return passed(serverCheck(server, "state"), text)
}

// NotTried is the check of a server for which no time was left.
func NotTried(server string) Check {
	return failed(serverCheck(server, "reached"), "it was not tried, because the others took too long", "try it alone: cwtch-relay doctor "+server)
}

// NotRunning is the check of a server that does not run, and why.
func NotRunning(server, why string) Check {
	if why == "" {
		why = "it has not been published yet"
	}
	return failed(serverCheck(server, "running"), "it does not run: "+why, "see its problem in the status; a reload tries it again")
}
