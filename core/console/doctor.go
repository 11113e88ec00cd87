package console

import (
	"context"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/doctor"
)

// doctorTimeout bounds an examination. Circuits of Tor take long to build.
const doctorTimeout = 3 * time.Minute

// doctorRun is the last examination. There is one at a time.
type doctorRun struct {
	mu     sync.Mutex
	begun  time.Time     // zero: never
	done   chan struct{} // closed when it is over; nil: never
	checks []doctor.Check
	ended  time.Time
}

func (d *doctorRun) running() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.done != nil && d.ended.IsZero()
}

// wait waits for the end of an examination.
func (d *doctorRun) wait() {
	d.mu.Lock()
	done := d.done
	d.mu.Unlock()
	if done != nil {
		<-done
	}
}

// start begins an examination unless one is under way.
func (d *doctorRun) start(ctx context.Context, examine func(context.Context) []doctor.Check) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done != nil && d.ended.IsZero() {
		return
	}
	d.begun, d.ended, d.checks, d.done = time.Now(), time.Time{}, nil, make(chan struct{})
	go func() {
		ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
		defer cancel()
		checks := examine(ctx)
		d.mu.Lock()
		defer d.mu.Unlock()
		d.checks, d.ended = checks, time.Now()
		close(d.done)
	}()
}

// doctorView is the page of the doctor.
type doctorView struct {
	Running  bool
	Done     bool
	At       string // of the results
	Problems int
	Summary  string
	Checks   []doctor.Check
	// NewToken returns a token for the button.
	NewToken func() string `json:"-"`
}

func (c *Console) viewDoctor(v *visit) (any, bool) {
	d := &c.doctor
	d.mu.Lock()
	defer d.mu.Unlock()
	view := doctorView{Running: d.done != nil && d.ended.IsZero(), Done: !d.ended.IsZero(), Checks: d.checks, NewToken: v.session.newToken}
	if !view.Done {
		return view, true
	}
	view.At = d.ended.Format("15:04")
	for _, check := range d.checks {
		if !check.OK {
			view.Problems++
		}
	}
	view.Summary = "All is well."
	if view.Problems > 0 {
		view.Summary = plural(view.Problems, "problem") + " found."
	}
	return view, true
}

// runDoctor begins an examination. The page shows how it goes.
func (v *visit) runDoctor() {
	v.submit(func() string {
		v.c.doctor.start(v.c.running, v.c.cfg.Doctor)
		return "/doctor"
	})
}
