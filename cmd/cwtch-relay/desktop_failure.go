package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/console"
)

// showFailure shows in the browser why the relay does not run, for a person who has clicked on an
// entry in the menu. With a terminal there is no need: the error stands there. Where no browser
// opens, it is a notification of the desktop.
func showFailure(ctx context.Context, err error, stderr io.Writer) {
	if isTerminal(stderr) {
		return
	}
	faults := describeFaults(err)
	if console.ServeFailure(ctx, faults, openBrowser) == nil || ctx.Err() != nil {
		return
	}
	texts := make([]string, len(faults))
	for i, f := range faults {
		texts[i] = strings.TrimSpace(f.Text + "\n" + f.Do)
	}
	notify("Cwtch Relay could not start", strings.Join(texts, "\n"))
}

// describeFaults returns what is wrong with what to do about it.
func describeFaults(err error) []console.Fault {
	if wrong, ok := errors.AsType[*config.Error](err); ok {
		faults := make([]console.Fault, len(wrong.Diagnostics))
		for i, d := range wrong.Diagnostics {
			faults[i] = console.Fault{Text: fmt.Sprintf("the configuration has a mistake in %s, line %d: %s", d.Range.File, d.Range.Line, d.Summary), Do: d.Hint}
		}
		return faults
	}
	fault := console.Fault{Text: err.Error()}
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		fault.Do = h.Hint()
	}
	return []console.Fault{fault}
}

// isTerminal reports whether a person reads an output now.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// notifyTimeout bounds the wait for the desktop to take a notification.
const notifyTimeout = 10 * time.Second

// notify shows a notification of the desktop, if it can show one.
func notify(title, text string) {
	ctx, cancel := context.WithTimeout(context.Background(), notifyTimeout)
	defer cancel()
	exec.CommandContext(ctx, "notify-send", "--app-name=Cwtch Relay", "--icon=cwtch-relay", "--urgency=critical", "--", title, text).Run() //nolint:errcheck // there is no other way left
}
