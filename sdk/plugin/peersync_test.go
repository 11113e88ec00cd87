package plugin

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

// recordingReplicator is a replicator that records its calls.
type recordingReplicator struct {
	diary *[]string
	err   error
}

func (m *recordingReplicator) Handle(context.Context, []peersync.Event) error {
	*m.diary = append(*m.diary, "handle")
	return m.err
}

func (m *recordingReplicator) Close() error {
	*m.diary = append(*m.diary, "close")
	return nil
}

func (m *recordingReplicator) Health(context.Context) string { return "tired" }

// TestStartReopensTheReplicator shows when the author's replicator is opened and closed:
// there is a new one for every Start, and none after an error.
func TestStartReopensTheReplicator(t *testing.T) {
	var diary []string
	var last *recordingReplicator
	p := Plugin{Name: "recorder", PeerSync: func(context.Context, Config, peersync.HostServices) (peersync.Replicator, error) {
		diary = append(diary, "open")
		last = &recordingReplicator{diary: &diary}
		return last, nil
	}}
	r, err := OpenPeerSync(t.Context(), p, Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(what string, err, want error, entries ...string) {
		t.Helper()
		if !errors.Is(err, want) || !slices.Equal(diary, entries) {
			t.Errorf("%s: %v, %q; want %v, %q", what, err, diary, want, entries)
		}
		diary = nil
	}
	start, tick := []peersync.Event{peersync.Start{}}, []peersync.Event{peersync.Tick{}}
	lost := errors.New("lost")

	expect("open", nil, nil, "open")
	expect("too early", r.Handle(t.Context(), tick), peersync.ErrNotStarted)
	expect("start", r.Handle(t.Context(), start), nil, "handle")
	expect("go on", r.Handle(t.Context(), tick), nil, "handle")
	expect("start anew", r.Handle(t.Context(), start), nil, "close", "open", "handle")
	if got := r.(HealthReporter).Health(t.Context()); got != "tired" {
		t.Errorf("its health is %q", got)
	}
	last.err = lost
	expect("fail", r.Handle(t.Context(), tick), lost, "handle", "close")
	if got := r.(HealthReporter).Health(t.Context()); got != "" {
		t.Errorf("with no replicator the health is %q", got)
	}
	expect("after it", r.Handle(t.Context(), tick), peersync.ErrNotStarted)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	expect("nobody waits", r.Handle(ctx, start), context.Canceled)
	expect("start after it", r.Handle(t.Context(), start), nil, "open", "handle")
	expect("too much", r.Handle(t.Context(), make([]peersync.Event, peersync.MaxEvents+1)), peersync.ErrTooLarge)
	expect("close", r.Close(), nil, "close")
	expect("close again", r.Close(), nil)
}

func TestErrorOfTheConstructorIsReturned(t *testing.T) {
	fault := errors.New("fault")
	p := Plugin{PeerSync: func(context.Context, Config, peersync.HostServices) (peersync.Replicator, error) { return nil, fault }}
	if _, err := OpenPeerSync(t.Context(), p, Config{}, nil); !errors.Is(err, fault) {
		t.Errorf("got %v", err)
	}
	p.PeerSync = func(context.Context, Config, peersync.HostServices) (peersync.Replicator, error) { return nil, nil }
	if _, err := OpenPeerSync(t.Context(), p, Config{}, nil); err == nil {
		t.Error("nothing was opened, and that was no error")
	}
}
