package host

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"google.golang.org/grpc/test/bufconn"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// TestLongestMessagesFit: a plugin receives as many of the longest messages as a batch takes, and sends
// each of them back.
func TestLongestMessagesFit(t *testing.T) {
	echo := plugin.Plugin{Name: "echo", Version: "1", PeerSync: func(_ context.Context, _ plugin.Config, h peersync.HostServices) (peersync.Replicator, error) {
		return echoReplicator{h}, nil
	}}
	listener := bufconn.Listen(1 << 20)
	server := plugin.NewServer(echo, slog.New(slog.DiscardHandler))
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	c := dialListener(t, listener)
	h := &countingHost{}
	c.ServeHost(h)
	if err := c.Configure(t.Context(), nil, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	events := []peersync.Event{peersync.Start{}}
	for range 4 {
		events = append(events, peersync.PeerMessage{Peer: 1, Data: make([]byte, peersync.MaxMessage)})
	}
	if err := c.PeerSync().Handle(t.Context(), events); err != nil || h.bytes != 4*peersync.MaxMessage {
		t.Errorf("%d bytes were sent, %v", h.bytes, err)
	}
}

type echoReplicator struct{ peersync.HostServices }

func (e echoReplicator) Handle(ctx context.Context, events []peersync.Event) error {
	for _, event := range events {
		if m, ok := event.(peersync.PeerMessage); ok {
			if err := e.Send(ctx, m.Peer, m.Data); err != nil {
				return err
			}
		}
	}
	return nil
}

func (echoReplicator) Close() error { return nil }

type countingHost struct {
	peersync.HostServices
	bytes int
}

func (c *countingHost) Send(_ context.Context, _ peersync.Peer, message []byte) error {
	c.bytes += len(message)
	return nil
}

func TestHandleRefusesWithoutSending(t *testing.T) {
	client := dialPlugin(t, &fakePlugin{}) // which does not know the service
	client.ServeHost(&countingHost{})
	r := client.PeerSync()
	if err := r.Handle(t.Context(), make([]peersync.Event, peersync.MaxEvents+1)); !errors.Is(err, peersync.ErrTooLarge) {
		t.Errorf("too many events: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Handle(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("with a canceled context: %v", err)
	}
	var broken *ContractError
	if err := r.Handle(t.Context(), nil); !errors.As(err, &broken) {
		t.Errorf("a plugin without the service: %v", err)
	}
}
