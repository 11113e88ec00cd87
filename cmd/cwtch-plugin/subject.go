package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/core/catalog"
	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest/protocoltest"
)

// subject is the plugin that is tested: a program, or a process that its author
// started by hand.
type subject struct {
	description plugin.Description
	attach      *pluginproc.AttachConfig // nil: the program
	program     *catalog.Program
}

// findSubject takes the path of a program, or the KIND/NAME of a plugin that was
// started by hand. The path of that plugin means the process as well.
func findSubject(ctx context.Context, granted *command.Grants, name string) (subject, error) {
	attachments, err := pluginproc.Attachments(os.Getenv(pluginproc.EnvReattach))
	if err != nil {
		return subject{}, err
	}
	if at, ok := attachments[name]; ok {
		d, err := describeAttached(ctx, at)
		if err == nil && string(d.Kind)+"/"+d.Name != name {
			err = fmt.Errorf("the process at %s is the %s plugin %q, not %s", at.Socket, d.Kind, d.Name, name)
		}
		if err == nil {
			err = checkContract(name, d)
		}
		return subject{description: d, attach: &at}, err
	}
	s := subject{}
	if s.program, err = granted.Program(name); err != nil {
		return subject{}, err
	}
	if s.description, err = s.program.Describe(ctx); err == nil {
		err = checkContract(name, s.description)
	}
	if err != nil {
		return subject{}, err
	}
	if at, ok := attachments[string(s.description.Kind)+"/"+s.description.Name]; ok {
		s.attach = &at
	}
	return s, nil
}

// checkContract refuses a plugin for which the suites are not.
func checkContract(name string, d plugin.Description) error {
	if err := d.CheckContract(); err != nil {
		return fmt.Errorf("%s %w", name, err)
	}
	return nil
}

func describeAttached(ctx context.Context, at pluginproc.AttachConfig) (plugin.Description, error) {
	attached, err := pluginproc.Attach(ctx, at)
	if err != nil {
		return plugin.Description{}, err
	}
	defer attached.Kill()
	ctx, cancel := context.WithTimeout(ctx, host.DescribeTimeout)
	defer cancel()
	return attached.Client().Describe(ctx)
}

// buildChecks returns the checks of the protocol and then those of the kind.
func (s subject) buildChecks(values, invalid map[string]any, t *tracer, shown *statsOutput, claims []string) []plugintest.Check {
	opener := protocoltest.Opener{Attach: s.attach, Config: values, Invalid: invalid}
	var transport plugintest.Transport
	if s.attach != nil {
		transport = plugintest.Attached(s.description.Name, *s.attach)
	} else {
		opener.Command = s.program.Confined
		transport = plugintest.External(s.description.Name, s.program.Confined)
	}
	if t != nil {
		opener.Tracer, transport = t, transport.Traced(t)
	}
	return t.traceChecks(append(protocoltest.Checks(opener), suiteOf(s.description, transport, values, shown, claims)...))
}

// maxTraced bounds the lines for one check. The suite of a store makes some hundred
// thousand calls.
const maxTraced = 200

// tracer writes the calls of each check.
type tracer struct {
	mu   sync.Mutex
	w    io.Writer
	left int // lines that may still be written
	more int // lines that were left out
}

// Trace writes a line.
func (t *tracer) Trace(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.left == 0 {
		t.more++
		return
	}
	t.left--
	fmt.Fprintf(t.w, "  %s\n", line)
}

// traceChecks writes the name of each check above its calls. A nil tracer changes nothing.
func (t *tracer) traceChecks(checks []plugintest.Check) []plugintest.Check {
	if t == nil {
		return checks
	}
	for i, c := range checks {
		checks[i].Run = func(tb testing.TB) {
			t.begin(c.Name)
			tb.Cleanup(t.end) // the last one, when the plugin is closed
			c.Run(tb)
		}
	}
	return checks
}

func (t *tracer) begin(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.left, t.more = maxTraced, 0
	fmt.Fprintf(t.w, "%s:\n", name)
}

func (t *tracer) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.more > 0 {
		fmt.Fprintf(t.w, "  … and %s more\n", command.CountOf(t.more, "line"))
	}
}
