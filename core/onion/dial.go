package onion

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"golang.org/x/net/proxy"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// Dial implements [Network]. Every call has SOCKS credentials of its own, for which
// tor uses a circuit of its own (IsolateSOCKSAuth in tor(1)).
func (t *Tor) Dial(ctx context.Context, service identity.Onion, port int) (net.Conn, error) {
	if err := checkPort(port); err != nil {
		return nil, err
	}
	if _, err := identity.ParseOnion(string(service)); err != nil {
		return nil, fmt.Errorf("dial onion service: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	info, err := t.awaitReady(ctx)
	if err != nil {
		return nil, fmt.Errorf("dial onion service: %w (tor is %s)", err, t.Status().shortText())
	}
	auth := &proxy.Auth{User: rand.Text(), Password: rand.Text()}
	d, err := proxy.SOCKS5(info.socksNetwork, info.socksAddress, auth, socksDialer{info.trust})
	if err != nil {
		return nil, fmt.Errorf("dial onion service: %w", err)
	}
	host := net.JoinHostPort(string(service)+".onion", strconv.Itoa(port))
	conn, err := d.(proxy.ContextDialer).DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, fmt.Errorf("dial onion service: %w", explainDialError(err))
	}
	return conn, nil
}

// socksDialer connects to tor's SOCKS port, if a trusted user listens there: the
// listener learns the name of the service. Tor may have ended since it named its
// port, and another user may listen on it now.
type socksDialer struct{ trust trust }

func (s socksDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if err := s.trust.checkPeer(c); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Dial implements proxy.Dialer. Nobody calls it: Tor.Dial has a context.
func (s socksDialer) Dial(network, address string) (net.Conn, error) {
	return s.DialContext(context.Background(), network, address)
}

// socksErrors has the replies of tor's ExtendedErrors (tor(1), SocksPort), as
// x/net/proxy prints codes that it does not know.
var socksErrors = map[string]error{
	"unknown code: 240": ErrNotPublished,
	"unknown code: 241": errors.New("descriptor of the onion service is invalid"),
	"unknown code: 242": errors.New("no introduction point of the onion service answers"),
	"unknown code: 243": errors.New("the onion service does not come to the rendezvous"),
	"unknown code: 244": errors.New("the onion service wants client authorization"),
	"unknown code: 245": errors.New("the onion service refuses this client's authorization"),
	"unknown code: 246": errors.New("not the name of an onion service"),
	"unknown code: 247": errors.New("introduction to the onion service timed out"),
}

// explainDialError returns what tor's reply means. It leaves out the name of the
// service, which the error of the SOCKS client has.
func explainDialError(err error) error {
	if e := (*net.OpError)(nil); errors.As(err, &e) {
		err = e.Err
	}
	for text, meaning := range socksErrors {
		if strings.HasSuffix(err.Error(), text) {
			return meaning
		}
	}
	return err
}
