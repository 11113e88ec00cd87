package onion

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cretz/bine/control"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion/tornet"
)

// exchangeByte shows that a connection to an echo is alive.
func exchangeByte(conn net.Conn) error {
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Write([]byte{'x'}); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err
}

// dialFresh dials until it succeeds: a service that was published a moment ago is not at all
// directories yet.
func dialFresh(t *testing.T, n Network, service identity.Onion) net.Conn {
	t.Helper()
	for ctx := within(t, watchdog); ; {
		conn, err := n.DialFresh(ctx, service, port)
		if err == nil {
			t.Cleanup(func() { conn.Close() })
			return conn
		}
		if ctx.Err() != nil {
			t.Fatalf("not reached: %v", err)
		}
		t.Logf("dial: %v", err)
	}
}

// A service that tor has lost is found unreachable although the directories still have its
// descriptor and tor is ready. Publishing it anew mends that, and the connections that it
// had go on.
func testInspect(t *testing.T, n *tornet.Network) {
	tor := torOn(t, n)
	service := served(t, tor)
	conn := dialFresh(t, tor, service)
	for range 8 { // directories do not refuse to be asked again
		dialFresh(t, tor, service).Close()
	}

	tor.mu.Lock()
	session := tor.session
	tor.mu.Unlock()
	if err := session.runRequest(func(c *control.Conn) error { return c.DelOnion(string(service)) }); err != nil {
		t.Fatal(err)
	}
	if lost, err := tor.DialFresh(within(t, watchdog), service, port); err == nil {
		lost.Close()
		t.Fatal("a lost service was reached")
	} else if s := tor.Status(); s.State != Ready || !s.Services[0].Published {
		t.Errorf("tor does not look well after %v: %+v", err, s)
	} else {
		t.Logf("lost: %v", err)
	}
	begun := time.Now()
	if err := tor.Republish(within(t, watchdog), service); err != nil {
		t.Fatal(err)
	}
	t.Logf("published anew after %v", time.Since(begun))
	if s := tor.Status().Services[0]; !s.Published || s.Uploaded.Before(begun) {
		t.Errorf("status: %+v", s)
	}
	dialFresh(t, tor, service)
	if err := exchangeByte(conn); err != nil {
		t.Errorf("the connection from before: %v", err)
	}

	again := dialFresh(t, tor, service) // and if nothing was lost
	if err := tor.Republish(within(t, watchdog), service); err != nil {
		t.Fatal(err)
	}
	if err := exchangeByte(again); err != nil {
		t.Errorf("the connection from before: %v", err)
	}
	dialFresh(t, tor, service)

	if _, err := tor.DialFresh(within(t, watchdog), identity.NewKey().Onion(), port); !errors.Is(err, ErrNotPublished) {
		t.Errorf("a service that never was: %v", err)
	}
	if err := tor.Republish(t.Context(), identity.NewKey().Onion()); err == nil || !strings.Contains(err.Error(), "not served by this process") {
		t.Errorf("publish a foreign service anew: %v", err)
	}
	e, err := tor.Examine(t.Context())
	if now := time.Now(); err != nil || e.ValidAfter.After(now) || e.ValidUntil.Before(now) {
		t.Errorf("examination: %+v, %v", e, err)
	}
}

// The registry that has lost a service, or has it at another address, gets it again.
func TestRepublishOnLoopback(t *testing.T) {
	registry := filepath.Join(t.TempDir(), "net")
	n := newLoopback(t, registry)
	service := served(t, n)
	if err := os.Remove(filepath.Join(registry, string(service))); err != nil {
		t.Fatal(err)
	}
	if _, err := n.DialFresh(t.Context(), service, port); !errors.Is(err, ErrNotPublished) {
		t.Errorf("a service that is not in the registry: %v", err)
	}
	begun := time.Now()
	if err := n.Republish(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	if err := roundTrip(t.Context(), n, service); err != nil {
		t.Error(err)
	}
	if s := n.Status().Services[0]; s.Directories != 1 || s.Uploaded.Before(begun) {
		t.Errorf("status: %+v", s)
	}
	if err := n.Republish(t.Context(), identity.NewKey().Onion()); err == nil {
		t.Error("a foreign service was published anew")
	}
}

// Directories are asked three times at most, and once if tor knows no other.
func TestFetchDescriptor(t *testing.T) {
	service := identity.NewKey().Onion()
	for name, c := range map[string]struct {
		events []string // in answer to each request
		asked  int
		want   string
	}{
		"received":       {[]string{"RECEIVED %s NO_AUTH $A~a x"}, 1, ""},
		"second":         {[]string{"FAILED %s NO_AUTH $A~a x REASON=NOT_FOUND", "RECEIVED %s NO_AUTH $A~a x"}, 2, ""},
		"not an upload":  {[]string{"FAILED %s UNKNOWN $A~a x REASON=UPLOAD_REJECTED\r\n650 HS_DESC RECEIVED %s NO_AUTH $A~a x"}, 1, ""},
		"not found":      {[]string{"FAILED %s NO_AUTH $A~a x REASON=NOT_FOUND"}, 3, ErrNotPublished.Error()},
		"no other":       {[]string{"FAILED %s NO_AUTH UNKNOWN REASON=QUERY_NO_HSDIR"}, 1, ErrNotPublished.Error()},
		"another reason": {[]string{"FAILED %s NO_AUTH $A~a x REASON=UNEXPECTED"}, 3, "UNEXPECTED"},
		"refused":        {nil, 1, "its code is 552"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newControlServer(t)
			tor := torAt(t, s.address, impatient)
			s.answer("HSFETCH", func(string) string {
				if c.events == nil {
					return "552 Unrecognized " + string(service)
				}
				at := min(len(s.said("HSFETCH")), len(c.events)) - 1
				return "250 OK\r\n650 HS_DESC " + strings.ReplaceAll(c.events[at], "%s", string(service))
			})
			err := tor.fetchDescriptor(within(t, watchdog), service)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), string(service)) {
				t.Errorf("the error names the service: %v", err)
			}
			if n := len(s.said("HSFETCH")); n != c.asked {
				t.Errorf("asked %d times, want %d", n, c.asked)
			}
			tor.mu.Lock()
			defer tor.mu.Unlock()
			if len(tor.fetches) != 0 {
				t.Error("a fetch is not forgotten")
			}
		})
	}
}

// A directory that does not answer, and a tor that ends, end the wait.
func TestFetchDescriptorEnds(t *testing.T) {
	s := newControlServer(t)
	tor := torAt(t, s.address, impatient)
	asked := make(chan struct{}, 1)
	s.answer("HSFETCH", func(string) string { asked <- struct{}{}; return "250 OK" })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- tor.fetchDescriptor(ctx, identity.NewKey().Onion()) }()
	<-asked
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: %v", err)
	}
	go func() { ended <- tor.fetchDescriptor(t.Context(), identity.NewKey().Onion()) }()
	<-asked
	s.drop()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "tor has ended") {
		t.Errorf("after the end of tor: %v", err)
	}
}

// The directories that have dropped a descriptor do not count.
func TestDirectoriesAreCounted(t *testing.T) {
	s, now := &service{}, time.Now()
	for i, ago := range []time.Duration{4 * time.Hour, DescriptorLifetime, time.Hour, 0, 0} {
		s.recordUpload(fmt.Sprint("dir", min(i, 3)), now.Add(-ago))
	}
	if d := s.describe(now); d.Directories != 2 || !d.Uploaded.Equal(now) {
		t.Errorf("%+v", d)
	}
	if len(s.uploads) != 2 {
		t.Errorf("%d uploads are kept", len(s.uploads))
	}
}
