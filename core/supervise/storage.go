package supervise

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Storage is the store of a storage plugin, the same through all incarnations.
// It is a [storage.Watcher] when the plugin is one, which is known once
// WaitReady has returned nil. Its Close does nothing; Stop ends the plugin.
func (p *Plugin) Storage() storage.Store {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != nil {
		if _, ok := p.current.store.(storage.Watcher); ok {
			return &watchedStore{store{p}}
		}
	}
	return &store{p}
}

// store passes calls on to whatever incarnation is ready.
type store struct{ plugin *Plugin }

type watchedStore struct{ store }

func (s *store) Info(ctx context.Context) (storage.Info, error) {
	return through(ctx, s.plugin, "info", func(target storage.Store) (storage.Info, error) {
		return target.Info(ctx)
	})
}

func (s *store) Append(ctx context.Context, records []storage.Record) ([]storage.Outcome, error) {
	return through(ctx, s.plugin, "append", func(target storage.Store) ([]storage.Outcome, error) {
		return target.Append(ctx, records)
	})
}

func (s *store) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	return through(ctx, s.plugin, "log", func(target storage.Store) (storage.Page, error) {
		return target.Log(ctx, req)
	})
}

func (s *store) Find(ctx context.Context, signature []byte) (storage.Seq, error) {
	return through(ctx, s.plugin, "find", func(target storage.Store) (storage.Seq, error) {
		return target.Find(ctx, signature)
	})
}

func (s *store) Close() error { return nil }

// Watch is not measured by overdue: it waits by design.
func (s *watchedStore) Watch(ctx context.Context, after storage.Seq) (storage.Seq, error) {
	inc, err := s.plugin.available(ctx)
	if err != nil {
		return 0, err
	}
	watcher, ok := inc.store.(storage.Watcher)
	if !ok {
		return 0, fmt.Errorf("%w: incarnation %d of the plugin can no longer watch", storage.ErrUnavailable, inc.number)
	}
	return watcher.Watch(ctx, after)
}

// available waits for an incarnation; without one the store is unavailable.
func (p *Plugin) available(ctx context.Context) (*incarnation, error) {
	inc, err := p.ready(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
	}
	return inc, nil
}

func through[R any](ctx context.Context, p *Plugin, method string, call func(storage.Store) (R, error)) (R, error) {
	inc, err := p.available(ctx)
	if err != nil {
		var none R
		return none, err
	}
	result, err := call(inc.store)
	inc.overdue.note(method, err)
	if errors.Is(err, storage.ErrUnavailable) {
		p.settle(ctx, inc)
	}
	return result, err
}

// settleTime is how long the death of a process may go unnoticed by the
// supervisor, with time to spare.
const settleTime = time.Second

// settle waits until inc is no longer called, or for settleTime if it lives. A
// call learns of the end of a process before the supervisor does; without the
// wait its repetition would meet the dead process again, instead of waiting
// for the next one.
func (p *Plugin) settle(ctx context.Context, inc *incarnation) {
	timer := time.NewTimer(settleTime)
	defer timer.Stop()
	for {
		p.mu.Lock()
		current, changed := p.current, p.changed
		p.mu.Unlock()
		if current != inc {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// overdue remembers which calls a plugin leaves unanswered. A single one says
// little, since its deadline may have been short; a method of which nothing
// has come back for long hangs, however well the plugin says it is.
type overdue struct {
	mu    sync.Mutex
	first map[string]time.Time // of a row of unanswered calls
}

func (o *overdue) note(method string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, waiting := o.first[method]
	switch {
	case errors.Is(err, context.Canceled):
		// The caller lost interest, which says nothing of the plugin.
	case !errors.Is(err, context.DeadlineExceeded):
		delete(o.first, method)
	case !waiting:
		if o.first == nil {
			o.first = make(map[string]time.Time)
		}
		o.first[method] = time.Now()
	}
}

// since names a method that has been unanswered for at least d, or none.
func (o *overdue) since(d time.Duration) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	for method, at := range o.first {
		if time.Since(at) >= d {
			return method
		}
	}
	return ""
}
