package console

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

// lookEvery is how often a change that takes long is looked at.
const lookEvery = 200 * time.Millisecond

var errEnding = errors.New("the relay is ending, or at too many changes: nothing was changed")

// change does something to the relay. It is over when do has returned, or when visible says
// that the rest can be seen on the pages. The change goes on when the browser leaves: it
// is done whole or not at all. If the rest fails, the next page says so.
func (v *visit) change(do func(context.Context) error, visible func(manager.Status) bool) error {
	if v.c.changes.Acquire(v.r.Context(), 1) != nil {
		return errEnding
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(v.r.Context()), changeTimeout)
	stop := context.AfterFunc(v.c.running, cancel) // the relay waits for nothing when it ends
	done := make(chan error, 1)
	go func() {
		defer v.c.changes.Release(1)
		defer cancel()
		defer stop()
		err := do(manager.WithOrigin(ctx, "console"))
		v.c.watch.forget()
		done <- err
	}()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-look.C:
		}
		if visible != nil && visible(v.c.watch.status(v.r.Context())) {
			go func() {
				if err := <-done; err != nil {
					v.session.setNotice(notice{capitalize(err.Error()), true})
				}
			}()
			return nil
		}
	}
}

// isStarting returns what change needs to know that a server is on its way.
func isStarting(name string) func(manager.Status) bool {
	return func(st manager.Status) bool {
		return slices.ContainsFunc(st.Servers, func(s manager.ServerStatus) bool {
			return s.Name == name && (s.State == manager.StateStarting || s.State == manager.StatePublishing || s.State == manager.StateRunning)
		})
	}
}

// startServer turns a server on.
func (v *visit) startServer() {
	v.switchServer(func(ctx context.Context, name string) error {
		plan, err := v.c.cfg.Relay.StartServer(ctx, name, nil)
		if errors.Is(err, identity.ErrLocked) {
			return errors.New("the server needs its passphrase: enter it below")
		}
		return explainPlan(plan, err, "")
	}, isStarting, "is being turned on.")
}

// stopServer turns a server off.
func (v *visit) stopServer() {
	v.switchServer(func(ctx context.Context, name string) error {
		plan, err := v.c.cfg.Relay.StopServer(ctx, name)
		return explainPlan(plan, err, "")
	}, nil, "is off. Nobody can reach it until you turn it on again.")
}

// switchServer does what a button of a server asks for, and leads to its page.
func (v *visit) switchServer(do func(context.Context, string) error, visible func(string) func(manager.Status) bool, done string) {
	v.submit(func() string {
		s, ok := v.findServer()
		if !ok {
			return ""
		}
		var look func(manager.Status) bool
		if visible != nil {
			look = visible(s.Name)
		}
		if err := v.change(func(ctx context.Context) error { return do(ctx, s.Name) }, look); err != nil {
			v.session.setNotice(notice{capitalize(err.Error()), true})
		} else {
			v.session.setNotice(notice{Text: s.Name + " " + done})
		}
		return serverPath(s.Name)
	})
}

// unlockServer opens the keys of a server with its passphrase, and starts it.
func (v *visit) unlockServer() {
	v.submit(func() string {
		s, ok := v.findServer()
		if !ok {
			return ""
		}
		f := v.newForm(nil)
		if v.value("unlock") == "" {
			f.refuse("unlock", "Enter the passphrase of the server.")
		} else {
			f.refuseError(v.change(func(ctx context.Context) error {
				plan, err := v.c.cfg.Relay.UnlockServer(ctx, s.Name, []byte(v.value("unlock")))
				return explainPlan(plan, err, "")
			}, isStarting(s.Name)), "unlock")
		}
		if f.faulty() {
			v.renderForm(f, "server", v.pageOf(s, f))
			return ""
		}
		v.session.setNotice(notice{Text: s.Name + " is unlocked and starts."})
		return serverPath(s.Name)
	})
}

// explainPlan returns why a change was not made as asked, in words that need no knowledge of plans;
// nil if it was. field is the one to blame for a refusal; it may be empty.
func explainPlan(plan *manager.Plan, err error, field string) error {
	if err != nil || plan == nil {
		return err
	}
	if len(plan.Refused) > 0 {
		r := plan.Refused[0]
		text := firstLine(r.What)
		if r.Hint != "" {
			text += ". To do: " + firstLine(r.Hint)
		}
		if field != "" {
			return &manager.FieldError{Field: field, Text: text}
		}
		return errors.New("nothing was changed: " + text)
	}
	for _, s := range plan.Steps {
		if s.Error != "" {
			return errors.New("it is saved, but the server does not run as it should: " + firstLine(s.Error) + ". The doctor may know more")
		}
	}
	return nil
}

// firstLine is what fits on a page of a text for a terminal, in which further lines show the place
// in a file.
func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimPrefix(text, "error: "), "\n")
	return line
}
