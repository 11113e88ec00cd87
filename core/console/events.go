package console

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
)

const (
	// maxStreams bounds how many pages are kept up to date at a time. Those beyond have
	// their Refresh link.
	maxStreams = 16
	// slowEvery is how often a stream looks while all is as it was, and fastEvery while
	// something starts.
	slowEvery = 3 * time.Second
	fastEvery = 500 * time.Millisecond
	// keepAlive is how often a stream writes something, to notice that its browser has gone.
	keepAlive = 30 * time.Second
	// streamTimeout is how long a browser may take to read an event.
	streamTimeout = 10 * time.Second
	// liveHeader marks requests of the script, which do not keep a session from ending.
	liveHeader = "Cwtch-Relay-Live"
	// eventStream is what a browser that follows a page says it takes.
	eventStream = "text/event-stream"
)

// streamEvents sends an event whenever the page would look different from what the browser
// has. The event has no content: the browser fetches the page again.
func (v *visit) streamEvents(p page) {
	if _, ok := p.view(v); !ok {
		v.renderMissing()
		return
	}
	select {
	case v.c.streams <- struct{}{}:
		defer func() { <-v.c.streams }()
	default:
		http.Error(v.w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	v.allowTime(streamTimeout)
	v.w.Header().Set("Content-Type", eventStream)
	shown, written := v.r.URL.Query().Get("from"), time.Time{}
	for v.c.sessions.findSession(v.r) != nil {
		digest := "" // of a page that is gone
		if view, ok := p.view(v); ok {
			digest = digestView(view)
		}
		var event string
		switch {
		case digest != shown:
			event = "event: changed\ndata: \n\n"
		case written.IsZero() || time.Since(written) > keepAlive:
			event = ": still here\n\n"
		}
		if event != "" {
			shown, written = digest, time.Now()
			if v.writeEvent(event) != nil {
				return
			}
		}
		every := slowEvery
		if v.c.watch.unsettled(v.r.Context()) || v.c.doctor.running() {
			every = fastEvery
		}
		select {
		case <-time.After(every):
		case <-v.r.Context().Done():
			return
		}
	}
	v.writeEvent("event: ended\ndata: \n\n") //nolint:errcheck // the browser has gone
}

func (v *visit) writeEvent(event string) error {
	control := http.NewResponseController(v.w)
	control.SetWriteDeadline(time.Now().Add(streamTimeout)) //nolint:errcheck // then the usual deadline applies
	if _, err := fmt.Fprint(v.w, event); err != nil {
		return err
	}
	return control.Flush()
}

const (
	// freshFor is how long a status is shown before the relay is asked again, however many
	// pages are open.
	freshFor = 300 * time.Millisecond
	// statusTimeout is how long stores may take to say how much they hold.
	statusTimeout = time.Second
)

// watcher asks the relay how it is.
type watcher struct {
	relay Relay

	mu    sync.Mutex
	last  manager.Status
	at    time.Time // when last was asked for; zero: never
	since map[string]stateSince
}

// stateSince is since when the console has seen a server in a state.
type stateSince struct {
	state manager.State
	at    time.Time
}

func (w *watcher) init(relay Relay) { w.relay, w.since = relay, make(map[string]stateSince) }

// status returns how the relay is, or was a moment ago.
func (w *watcher) status(ctx context.Context) manager.Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.at.IsZero() && time.Since(w.at) < freshFor {
		return w.last
	}
	// Others wait for this answer: it does not end with one browser.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statusTimeout)
	defer cancel()
	w.last, w.at = w.relay.Status(ctx), time.Now()
	known := make(map[string]stateSince, len(w.last.Servers))
	for _, s := range w.last.Servers {
		known[s.Name] = w.since[s.Name]
		if known[s.Name].state != s.State {
			known[s.Name] = stateSince{s.State, w.at}
		}
	}
	w.since = known
	return w.last
}

// forget makes the next status a new one.
func (w *watcher) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = time.Time{}
}

// inStateSince returns since when a server is in its state.
func (w *watcher) inStateSince(name string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.since[name].at
}

// unsettled reports whether something will change soon.
func (w *watcher) unsettled(ctx context.Context) bool {
	st := w.status(ctx)
	for _, s := range st.Servers {
		if s.State == manager.StateStarting || s.State == manager.StatePublishing || s.Deleting {
			return true
		}
	}
	return st.Network != nil && (st.Network.State == onion.Starting || st.Network.State == onion.Bootstrapping)
}
