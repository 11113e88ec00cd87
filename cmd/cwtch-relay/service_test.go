package main

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/sdnotify"
)

// TestStartIsExtendedWhileStoresOpen shows that the service manager hears in time that it has
// to wait longer, as long as the stores take.
func TestStartIsExtendedWhileStoresOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	d := &daemon{service: sdnotify.FromEnvironment()}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*extendEvery-time.Second)
		defer cancel()
		d.extendStart(ctx)
	})
	if startTimeout < 2*extendEvery {
		t.Errorf("each time the relay asks for %v, and asks again after %v", startTimeout, extendEvery)
	}
	if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<10)
	for n := range 4 {
		size, err := conn.Read(buf)
		if err != nil || !strings.HasPrefix(string(buf[:size]), "EXTEND_TIMEOUT_USEC=300000000") {
			t.Fatalf("message %d: %q, %v", n, buf[:size], err)
		}
	}
	if err := conn.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if size, err := conn.Read(buf); err == nil {
		t.Errorf("there is more: %q", buf[:size])
	}
}
