// Package onion connects a relay and its clients by onion service, never by address.
// It is for the packages that listen or dial (core/relay, core/client); they see a
// [Network] and need not know which.
//
// There are two networks. [StartTor] is the real one: it runs a tor process of its
// own, or uses one that already runs. [Loopback] is for development and tests: its
// services are listeners on 127.0.0.1 that clients find through files in a
// directory. It hides nothing from anybody and is never a default.
//
// # Guarantees
//
//   - A listener that Listen returned stays valid until it or its network is
//     closed. When tor dies or hangs it is started again and the service is
//     published again; meanwhile Accept waits.
//   - Every Dial over Tor has a circuit of its own, so that no circuit links two
//     connections of one client.
//   - A tor process never outlives the process that started it, however that
//     process ends.
//   - Keys and the names of services that are dialled go only to processes of
//     root, of this user, and of a user that the operator has named; see
//     [TorConfig.Control].
//   - A tor process that this package starts is confined: it cannot read other
//     files of this user. The running program has to call sandbox.Main first.
//   - Logs and errors have no names of services that are dialled, no keys, and no
//     addresses of clients.
//
// # Tests never touch the public network
//
// Under go test, and wherever the environment sets
// CWTCH_RELAY_TOR_TESTING_ONLY=1, tor is started only with TestingTorNetwork 1
// and directories on 127.0.0.1. The package tornet beside this one runs such a
// network.
package onion

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// ErrNotPublished means that the network does not know the service: its server is
// offline, has not finished publishing, or never existed.
var ErrNotPublished = errors.New("onion service is not published")

// Network publishes onion services and connects to them. It is safe for concurrent
// use.
type Network interface {
	// Listen publishes the onion service of key on a virtual port and returns
	// when others can find it, or when ctx ends. Publishing takes seconds over
	// Tor; a network that is still starting is waited for. ctx bounds only the
	// call: the listener lives until it is closed, and closing it withdraws the
	// service. A key can be served once at a time.
	//
	// Addr of the listener is the onion name and virtual port. RemoteAddr of
	// its connections tells nothing about the client.
	Listen(ctx context.Context, key identity.Key, port int) (net.Listener, error)

	// Dial connects to a virtual port of an onion service. It waits for a
	// network that is still starting, and is bounded by ctx and by two minutes.
	// Errors do not name the service.
	Dial(ctx context.Context, service identity.Onion, port int) (net.Conn, error)

	// Status describes the network as it is now, for the operator. It never
	// blocks on the network.
	Status() Status

	// Close withdraws all services, closes their listeners and ends what the
	// network started. Calls that wait return an error that wraps
	// [net.ErrClosed]. Closing twice does nothing.
	Close() error

	Inspector
}

// State is what a network is doing.
type State string

const (
	Starting      State = "starting"      // tor is being started, or its control port is being connected to
	Bootstrapping State = "bootstrapping" // tor fetches its directory and builds first circuits
	Ready         State = "ready"         // services can be published and dialled
	Offline       State = "offline"       // bootstrapped before, but circuits fail now; tor keeps trying
	Backoff       State = "backoff"       // tor ended or its control port is gone; waiting before the next try
	Closed        State = "closed"
)

// Status is the state of a network as an operator sees it. Its JSON form is
// part of the output of the status command.
type Status struct {
	Network  string    `json:"network"` // "tor" or "loopback"
	State    State     `json:"state"`
	Since    time.Time `json:"since"`             // when State began
	Progress int       `json:"progress"`          // per cent of tor's bootstrap; 100 when done
	Summary  string    `json:"summary,omitempty"` // tor's words for the bootstrap step; in backoff, what went wrong
	Version  string    `json:"version,omitempty"` // of tor, such as "0.4.9.11"
	Pid      int       `json:"pid,omitempty"`     // of the tor that this process started
	Restarts int       `json:"restarts"`          // times tor was started or connected to again
	Services []Service `json:"services"`          // ordered by onion name
}

// Service is one onion service of this process.
type Service struct {
	Onion     identity.Onion `json:"onion"`
	Port      int            `json:"port"`      // virtual port
	Published bool           `json:"published"` // by the present tor, since it was started or connected to
	// Directories is how many directories have accepted the descriptor within
	// [DescriptorLifetime], and Uploaded when the last of them did. The loopback
	// network has one directory.
	Directories int        `json:"directories"`
	Uploaded    *time.Time `json:"uploaded,omitempty"`
}

// onionAddr is the address of a listener.
type onionAddr struct {
	onion identity.Onion
	port  string
}

func (onionAddr) Network() string  { return "onion" }
func (a onionAddr) String() string { return net.JoinHostPort(string(a.onion)+".onion", a.port) }
