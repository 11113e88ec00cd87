package main

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
)

// follow waits for a server that cannot be reached at its start, as it does later.
func TestFollowWaitsForTheServer(t *testing.T) {
	h := newTestServer(t)
	h.stopServer()
	lost := make(chan struct{})
	var once sync.Once
	errs := &textWatcher{text: "no connection, trying again: connect to board", seen: func() { once.Do(func() { close(lost) }) }}
	var out bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- h.run(t.Context(), h.registry, nil, &out, errs, "follow", "-n", "1", "-timeout", "2m", "club")
	}()
	select {
	case <-lost:
	case status := <-ended:
		t.Fatalf("it ended with status %d: %s", status, errs)
	}
	h.startServer()
	h.mustRun("", "post", "club", "at last")
	if status := <-ended; status != 0 || !strings.HasSuffix(out.String(), "  at last\n") {
		t.Errorf("status %d, %s, %s", status, &out, errs)
	}
}

// A follow that ends without a connection says why there was none. ^C is still not an
// error.
func TestFollowWithoutAServer(t *testing.T) {
	h := newTestServer(t)
	h.stopServer()
	var errs bytes.Buffer
	status := h.run(t.Context(), h.registry, nil, &errs, &errs, "-q", "follow", "-timeout", "200ms", "club")
	if status != 1 || !strings.Contains(errs.String(), "no connection within 200ms: connect to board") {
		t.Errorf("status %d: %s", status, &errs)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	said := &textWatcher{text: "no connection", seen: interrupt}
	if status := h.run(ctx, h.registry, nil, &errs, said, "follow", "club"); status != 0 {
		t.Errorf("status %d: %s", status, said)
	}
}
