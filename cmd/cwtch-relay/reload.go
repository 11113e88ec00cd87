package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

func reloadCommand() *cli.Command {
	return &cli.Command{
		Name: "reload", Category: categoryRunning, Usage: "apply a changed configuration to the running relay",
		Flags:  withConfig(&cli.BoolFlag{Name: "dry-run", Usage: "Say what would change, and change nothing."}),
		Action: command.Action(runReload),
	}
}

// runReload tells the running relay to read its configuration again.
func runReload(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	f, err := readFlags(c, stderr)
	if err != nil {
		return err
	}
	dataDir, err := config.DataDir(f.config)
	if err != nil {
		return err
	}
	path, err := filepath.Abs(f.config)
	if err != nil {
		return err
	}
	plan, err := manager.AskReload(ctx, dataDir, path, f.Bool("dry-run"))
	if errors.Is(err, manager.ErrNotRunning) {
		return command.WithHint(err, "start it with: "+f.nextCommand()+"; a relay that runs with another data_dir has to be restarted")
	}
	if err != nil {
		return err
	}
	if f.JSON {
		err = command.PrintJSON(stdout, plan)
	} else {
		err = writePlan(stdout, f.config, plan)
	}
	if err != nil {
		return err
	}
	return planError(plan, f.stderr)
}

// writePlan writes a plan for people. planError writes what was refused.
func writePlan(w io.Writer, path string, plan *manager.Plan) error {
	switch {
	case len(plan.Steps) == 0 && len(plan.Refused) == 0 && len(plan.Down) == 0:
		fmt.Fprintf(w, "%s is valid, and nothing in it has changed\n", path)
		return nil
	case len(plan.Steps) == 0 && len(plan.Down) == 0:
		return nil
	case plan.Applied:
		fmt.Fprintf(w, "reloaded %s\n", path)
	case len(plan.Refused) > 0:
		fmt.Fprintln(w, "without what is refused, a reload would")
	default:
		fmt.Fprintf(w, "%s is valid; a reload would\n", path)
	}
	for _, s := range plan.Steps {
		switch {
		case s.Error != "":
			fmt.Fprintf(w, "  FAILED  %s\n", s)
		case s.Done:
			fmt.Fprintf(w, "  done    %s\n", s)
		default:
			fmt.Fprintf(w, "  %s\n", s)
		}
	}
	for _, d := range plan.Down {
		fmt.Fprintf(w, "  FAILED  %s of server %s does not run, it is in state %s\n", d.Plugin, d.Server, d.State)
	}
	fmt.Fprintln(w, describeDeletions(plan))
	for _, s := range plan.Steps {
		if s.Bundle == "" {
			continue
		}
		b, err := bundle.Parse(s.Bundle)
		if err != nil {
			return fmt.Errorf("read the bundle of server %s: %w", s.Server, err)
		}
		if err := printStarted(w, false, startedServer{Server: s.Server, Board: b.Board, TokenService: b.TokenService, Bundle: s.Bundle}); err != nil {
			return err
		}
	}
	return nil
}

// describeDeletions says what an operator fears most of a change.
func describeDeletions(plan *manager.Plan) string {
	deletes, later := plan.Deletes(), plan.DeletesLater()
	switch {
	case deletes && plan.Applied:
		return "the envelopes above are being deleted, and nothing else"
	case deletes:
		return "the envelopes above would be deleted, and nothing else; they cannot be brought back"
	case later && plan.Applied:
		return "no data was deleted yet; the envelopes above will be, and nothing else"
	case later:
		return "no data would be deleted at once; the envelopes above would be later, and nothing else; they cannot be brought back"
	case plan.Applied:
		return "no data was deleted"
	}
	return "no data would be deleted"
}

// planError writes what was refused and what failed, each with its own hint, and returns
// the sum of it.
func planError(plan *manager.Plan, stderr io.Writer) error {
	for _, r := range plan.Refused {
		where := ""
		if r.Where != "" {
			where = r.Where + ": "
		}
		fmt.Fprintf(stderr, "error: %s%s\nhint: %s\n", where, r.What, r.Hint)
	}
	for _, s := range plan.Steps {
		switch {
		case strings.HasPrefix(s.Error, "error: "): // of the configuration, with its place
			fmt.Fprintf(stderr, "error: could not %s:\n%s\n", s, s.Error)
		case s.Error != "":
			fmt.Fprintf(stderr, "error: could not %s: %s\n", s, s.Error)
		}
	}
	for _, d := range plan.Down {
		fmt.Fprintf(stderr, "error: %s of server %s does not run: %s\n", d.Plugin, d.Server, d.Error)
	}
	const hint = "mend what is wrong and reload again; what has failed is tried again then"
	failed, down := plan.Failed()-len(plan.Down), command.CountOf(len(plan.Down), "plugin")
	switch {
	case len(plan.Refused) > 0:
		return errors.New("nothing was changed")
	case failed > 0 && len(plan.Down) > 0:
		return command.WithHint(fmt.Errorf("%d of %s failed, and %s besides did not stay up", failed, command.CountOf(len(plan.Steps), "step"), down), hint)
	case failed > 0:
		return command.WithHint(fmt.Errorf("%d of %s failed", failed, command.CountOf(len(plan.Steps), "step")), hint)
	case len(plan.Down) > 0:
		return command.WithHint(fmt.Errorf("%s did not stay up", down), hint)
	}
	return nil
}
