package supervise

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

// TestTakenAddressIsTriedForever shows that a plugin whose address is taken is tried until
// the address is free. Nothing has ended, so no restarts count.
func TestTakenAddressIsTriedForever(t *testing.T) {
	const limit = 2
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	address := other.Addr().String()
	r := startSupervised(t, func(c *setup) {
		c.Kind, c.Sandbox, c.Value = plugin.KindStats, &sandbox.Policy{}, listenValue(t, address)
		c.Listen = []plugin.ListenAddress{{Path: []string{"listen"}, Address: address}}
		c.timing.maxFailures = limit
	}, "exit", "listening")

	var taken *pluginproc.ListenError
	var faults plugin.Diagnostics
	if err := r.WaitTried(r.ctx()); !errors.As(err, &taken) || !errors.As(err, &faults) || !strings.Contains(err.Error(), "Another program listens there") {
		t.Errorf("the first try: %v", err)
	}
	r.await("tried more often than a plugin may end", func(s Status) bool { return s.Incarnation > 2*limit && s.State == Backoff })
	if s := r.Status(); s.Restarts != 0 || !strings.Contains(s.LastError, "Another program listens there") {
		t.Errorf("status %+v", s)
	}
	other.Close()
	r.await("ready", func(s Status) bool { return s.State == Ready })
	if s := r.Status(); s.Restarts != 1 { // the first process ended
		t.Errorf("%d restarts, want one", s.Restarts)
	}
	if got := readGreeting(t, address); got != r.Status().PID {
		t.Errorf("process %d answers, want %d", got, r.Status().PID)
	}
	if n := strings.Count(r.log.String(), "is tried again\""); n > limit {
		t.Errorf("%d lines of the log say that it is tried again", n)
	}
}

// TestUnavailableAtFirst shows that an error of a constructor which may pass does not end
// the plugin for good.
func TestUnavailableAtFirst(t *testing.T) {
	r := startSupervised(t, func(c *setup) { c.Kind = plugin.KindStats }, "away", "away", "stats")
	if err := r.WaitTried(r.ctx()); err == nil || !strings.Contains(err.Error(), "the database") || !strings.Contains(err.Error(), "tried again") {
		t.Errorf("the first try: %v", err)
	}
	r.await("ready", func(s Status) bool { return s.State == Ready && s.Restarts == 2 })
	if err := r.WaitTried(r.ctx()); err != nil {
		t.Errorf("when it is ready: %v", err)
	}
}
