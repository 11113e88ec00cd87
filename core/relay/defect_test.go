package relay

import (
	"context"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// defective stands for a defect anywhere in what a replay does.
type defective struct{ storage.Store }

func (defective) Find(context.Context, []byte) (storage.Seq, error) { panic("a defect") }

// TestDefectEndsOneConnection: a panic on a goroutine of a connection closes that
// connection, is counted, and does not end the relay.
func TestDefectEndsOneConnection(t *testing.T) {
	r := start(t, func(c *Config) { c.Store = defective{storagetest.NewMemory()} })
	other, unlucky := r.connect(), r.connect()
	other.replay("")
	other.expect("count 0")
	unlucky.replay("any signature")
	unlucky.expect("closed")
	other.post("m1", r.token())
	other.expect("posted true", "new m1")
	if n := r.Status(t.Context()).BoardConnections.Panics; n != 1 {
		t.Errorf("%d panics counted, want 1", n)
	}
}
