package onion

import (
	"crypto/ecdh"
	"encoding/base64"
	"errors"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/cretz/bine/control"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion/tornet"
)

func TestNewClientKey(t *testing.T) {
	public, private := NewClientKey()
	raw, err := clientKeyEncoding.DecodeString(private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdh.X25519().NewPrivateKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	if of := clientKeyEncoding.EncodeToString(key.PublicKey().Bytes()); of != string(public) || len(public) != 52 || len(private) != 52 {
		t.Errorf("the public key is %s, and that of the private one %s", public, of)
	}
	if again, _ := NewClientKey(); again == public {
		t.Error("two keys are equal")
	}
}

// Every ADD_ONION of a service with clients names them, also after a reconnect, and after tor
// has refused another argument.
func TestClientsAreAlwaysNamed(t *testing.T) {
	c, key := newControlServer(t), identity.NewKey()
	one, _ := NewClientKey()
	two, _ := NewClientKey()
	c.uploadAll(key.Onion(), func(line string) string {
		if strings.Contains(line, "PoWDefensesEnabled=1") {
			return "512 Unrecognized argument"
		}
		return ""
	})
	tor := torAt(t, c.address, impatient)
	ln, err := tor.ListenFor(within(t, watchdog), key, port, []ClientKey{one, two})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c.drop()
	await(t, tor, "reconnected", func(s Status) bool { return s.Restarts == 1 && s.Services[0].Published })
	if err := tor.Republish(within(t, watchdog), key.Onion()); err != nil {
		t.Fatal(err)
	}
	adds := c.said("ADD_ONION")
	if len(adds) != 6 {
		t.Errorf("%d commands", len(adds))
	}
	for _, add := range adds {
		_, arguments, _ := strings.Cut(add, " Flags=")
		if !strings.HasPrefix(arguments, "DiscardPK,MaxStreamsCloseCircuit,V3Auth ") || !strings.Contains(arguments, " MaxStreams=16 ") ||
			!strings.HasSuffix(arguments, " ClientAuthV3="+string(one)+" ClientAuthV3="+string(two)) {
			t.Errorf("tor was told: %s", arguments)
		}
	}
}

// A tor that cannot restrict a service does not get it without restrictions.
func TestTorWithoutClientAuthorization(t *testing.T) {
	c := newControlServer(t)
	c.answer("ADD_ONION", func(string) string { return "512 Invalid 'Flags' argument" })
	tor := torAt(t, c.address, impatient)
	client, _ := NewClientKey()
	_, err := tor.ListenFor(within(t, watchdog), identity.NewKey(), port, []ClientKey{client})
	if !errors.Is(err, errNoClientAuthorization) {
		t.Errorf("error: %v", err)
	}
	for _, add := range c.said("ADD_ONION") {
		if !strings.Contains(add, "V3Auth") || !strings.Contains(add, "ClientAuthV3=") {
			t.Error("the service was offered to everybody")
		}
	}
	if s := tor.Status(); len(s.Services) != 0 {
		t.Errorf("status: %+v", s)
	}
}

func TestListenForNobody(t *testing.T) {
	c := newControlServer(t)
	tor := torAt(t, c.address, impatient)
	await(t, tor, "ready", func(s Status) bool { return s.State == Ready })
	good, _ := NewClientKey()
	for name, clients := range map[string][]ClientKey{
		"none":           nil,
		"empty":          {""},
		"short":          {good[:51]},
		"more arguments": {good[:40] + " Port=1,1"},
		"lower case":     {ClientKey(strings.ToLower(string(good)))},
		"a second line":  {good + "\r\n"},
	} {
		if ln, err := tor.ListenFor(within(t, watchdog), identity.NewKey(), port, clients); err == nil {
			ln.Close()
			t.Errorf("%s: published", name)
		}
	}
	if adds := c.said("ADD_ONION"); len(adds) != 0 {
		t.Errorf("tor was told %d times", len(adds))
	}
}

// authorize gives a tor the private key of a client, as Tor Browser does.
func authorize(t *testing.T, tor *Tor, service identity.Onion, private string) {
	t.Helper()
	raw, err := clientKeyEncoding.DecodeString(private)
	if err != nil {
		t.Fatal(err)
	}
	await(t, tor, "ready", func(s Status) bool { return s.State == Ready })
	tor.mu.Lock()
	session := tor.session
	tor.mu.Unlock()
	err = session.runRequest(func(c *control.Conn) error {
		_, err := c.SendRequest("ONION_CLIENT_AUTH_ADD %s x25519:%s", service, base64.StdEncoding.EncodeToString(raw))
		if e := (*textproto.Error)(nil); errors.As(err, &e) && e.Code/10 == 25 { // it replaces one, or decrypts what tor has
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Only the holder of a key gets through, whatever happens to the tor of the service. Others
// can see that the service is there, and so can its own relay.
func testClients(t *testing.T, n *tornet.Network) {
	server, client := torOn(t, n), torOn(t, n)
	public, private := NewClientKey()
	_, foreign := NewClientKey()
	key := identity.NewKey()
	service := key.Onion()
	ln, err := server.ListenFor(within(t, watchdog), key, port, []ClientKey{public})
	if err != nil {
		t.Fatal(err)
	}
	echo(t, ln)
	if err := server.FindDescriptor(within(t, watchdog), service); err != nil {
		t.Errorf("without a key: %v", err)
	}
	refused := func(who string, texts ...string) {
		t.Helper()
		err := roundTrip(within(t, watchdog), client, service)
		if err == nil || !slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(err.Error(), text) }) {
			t.Errorf("%s: %v", who, err)
		}
	}
	refused("a client without a key", "wants client authorization")
	authorize(t, client, service, foreign)
	refused("a client with a foreign key", "refuses this client's authorization")
	authorize(t, client, service, private)
	reach(t, client, service)

	if err := server.Republish(within(t, watchdog), service); err != nil {
		t.Fatal(err)
	}
	reach(t, client, service)
	if conn, err := server.DialFresh(within(t, watchdog), service, port); err == nil {
		conn.Close()
		t.Error("the service is open to everybody after it was published anew")
	}
	ln.Close()
	if err := server.FindDescriptor(within(t, watchdog), identity.NewKey().Onion()); !errors.Is(err, ErrNotPublished) {
		t.Errorf("a service that never was: %v", err)
	}
}
