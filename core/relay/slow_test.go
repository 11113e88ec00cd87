package relay

import (
	"bytes"
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/limits"
)

// TestSlowReaderDoesNotHoldUpTheEnd shows that a client that reads a tapir.MaxBurst now and then
// is waited for until the connection has to end, but not after.
func TestSlowReaderDoesNotHoldUpTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		server := &Server{budget: newQuietBudget(limits.Limits{})}
		server.limits.Store(&limits.Limits{StuckReader: time.Minute, IdleTimeout: time.Minute})
		ses := newSession(server, tapir.Plain(near))
		var reader sync.WaitGroup
		defer reader.Wait()
		reader.Go(func() {
			for {
				if _, err := io.CopyN(io.Discard, far, tapir.MaxBurst*tapir.PacketSize); err != nil {
					return
				}
				time.Sleep(900 * time.Millisecond)
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		defer context.AfterFunc(ctx, ses.shortenDeadline)()
		begin := time.Now()
		page := slices.Repeat([][]byte{bytes.Repeat([]byte("x"), 40)}, 100*tapir.MaxBurst)
		if err := ses.sendPayloads(ctx, page); err == nil {
			t.Error("everything was sent")
		}
		if took := time.Since(begin); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("sending ended after %v, want 10 s and a last second", took)
		}
	})
}
