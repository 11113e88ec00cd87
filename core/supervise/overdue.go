package supervise

import (
	"context"
	"errors"
	"sync"
	"time"
)

// hangDetector remembers which calls a plugin leaves unanswered, or answers only
// with being unavailable. A single one says little, since its deadline may have
// been short; a method of which nothing has come back for long hangs, however
// well the plugin says it is.
type hangDetector struct {
	mu   sync.Mutex
	rows map[string]row
}

// row is a row of unanswered calls of one method.
type row struct{ begin, end time.Time }

// noteCall takes down how a call ended; lost tells that the plugin was unavailable.
func (o *hangDetector) noteCall(method string, begin time.Time, err error, lost bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case errors.Is(err, context.Canceled):
		// The caller lost interest, which says nothing of the plugin.
	case lost, errors.Is(err, context.DeadlineExceeded):
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

// hangingMethod names a method of which calls over a time of at least d were not
// answered, or none.
func (o *hangDetector) hangingMethod(d time.Duration) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	for method, r := range o.rows {
		if r.end.Sub(r.begin) >= d {
			return method
		}
	}
	return ""
}
