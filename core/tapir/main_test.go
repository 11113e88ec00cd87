package tapir

import (
	"context"
	"net"
	"testing"

	"go.uber.org/goleak"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func checkError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tcpPair returns both ends of a TCP connection, which unlike net.Pipe has
// buffers, so that both sides may send first.
func tcpPair(t testing.TB) (dialled, accepted net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	checkError(t, err)
	defer l.Close()
	dialled, err = net.Dial("tcp", l.Addr().String())
	checkError(t, err)
	accepted, err = l.Accept()
	checkError(t, err)
	t.Cleanup(func() { dialled.Close(); accepted.Close() })
	return dialled, accepted
}

// outcome is how one side of an authentication ended.
type outcome struct {
	conn *Conn
	err  error
}

// authenticateBoth runs both sides over the two ends of a connection.
func authenticateBoth(t testing.TB, dialled, accepted net.Conn, clientKey, serverKey identity.Key, dial identity.Onion) (client, server outcome) {
	t.Helper()
	done := make(chan outcome)
	go func() {
		c, err := Server(context.Background(), accepted, serverKey)
		done <- outcome{c, err}
	}()
	c, err := Client(t.Context(), dialled, clientKey, dial)
	return outcome{c, err}, <-done
}

// authenticatedPair returns both ends of an authenticated connection.
func authenticatedPair(t testing.TB) (client, server *Conn) {
	t.Helper()
	a, b := tcpPair(t)
	clientKey, serverKey := identity.NewKey(), identity.NewKey()
	x, y := authenticateBoth(t, a, b, clientKey, serverKey, serverKey.Onion())
	checkError(t, x.err)
	checkError(t, y.err)
	return x.conn, y.conn
}
