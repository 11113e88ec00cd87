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

func through[R any](ctx context.Context, p *Plugin, method string, call func(storage.Store) (R, error)) (result R, err error) {
	inc, err := p.available(ctx)
	if err != nil {
		return result, err
	}
	if err := ctx.Err(); err != nil {
		return result, fmt.Errorf("storage %s: %w", method, err) // nothing is asked, so nothing is left unanswered
	}
	begin := time.Now()
	result, err = call(inc.store)
	inc.overdue.note(method, begin, err)
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

// overdue remembers which calls a plugin leaves unanswered, or answers only
// with being unavailable. A single one says little, since its deadline may have
// been short; a method of which nothing has come back for long hangs, however
// well the plugin says it is.
type overdue struct {
	mu   sync.Mutex
	rows map[string]row
}

// row is a row of unanswered calls of one method.
type row struct{ begin, end time.Time }

func (o *overdue) note(method string, begin time.Time, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case errors.Is(err, context.Canceled):
		// The caller lost interest, which says nothing of the plugin.
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, storage.ErrUnavailable):
		r, waiting := o.rows[method]
		if !waiting {
			r.begin = begin
		}
		r.end = time.Now()
		if o.rows == nil {
			o.rows = make(map[string]row)
		}
		o.rows[method] = r
	default:
		delete(o.rows, method)
	}
}

// since names a method of which calls over a time of at least d were not
// answered, or none.
func (o *overdue) since(d time.Duration) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	for method, r := range o.rows {
		if r.end.Sub(r.begin) >= d {
			return method
		}
	}
	return ""
}
