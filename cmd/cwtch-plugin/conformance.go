package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync/peersynctest"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats/statstest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// testReport is the result of the suites.
type testReport struct {
	Plugin  plugin.Description `json:"plugin"`
	Path    string             `json:"path"`
	Sandbox bool               `json:"sandbox"`
	// Attached is the process that was started by hand, or 0.
	Attached int `json:"attached,omitempty"`
	// Claims are what the author promises beyond the contract, ascending.
	Claims []string `json:"claims,omitempty"`

	Results []reportedResult `json:"results"`
	Failed  int              `json:"failed"`
}

// reportedResult is a result with the name of its check, for JSON.
type reportedResult struct {
	Name     string `json:"name"`
	Contract string `json:"contract"`
	plugintest.Result
}

var errNotConforming = errors.New("the plugin does not keep the contract")

func testCommand() *cli.Command {
	return &cli.Command{
		Name: "test", ArgsUsage: "PATH|KIND/NAME", Usage: "check that a plugin keeps the protocol and the contract of its kind",
		Description: "PATH is a program, and KIND/NAME a plugin that $CWTCH_REATTACH_PLUGINS names.",
		Flags: append(command.GrantFlags(),
			command.PathFlag("config", "an empty block", "Configure the plugin with what `FILE` has, as it would stand in its block."),
			command.PathFlag("invalid", "", "Check that the plugin refuses what `FILE` has, as it would stand in its block."),
			&cli.StringFlag{Name: "run", DefaultText: "all", Usage: "Run the checks whose name matches the `REGEXP`."},
			&cli.StringFlag{Name: "claim", Usage: "Check what a peersync plugin promises besides: `CLAIMS` of converges,resumes."},
			&cli.BoolFlag{Name: "trace", Usage: "Print the calls of each check on standard error."},
			&cli.StringFlag{Name: "shows", Usage: "Read the numbers of a stats plugin from `URL|FILE`, below its directory."},
			&cli.StringFlag{Name: "prefix", Usage: "Take the numbers of -shows whose names begin with `TEXT`."},
			command.JSONFlag()),
		Action: command.Action(testPlugin),
	}
}

// testPlugin runs the conformance suites against any plugin.
func testPlugin(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	granted, err := command.ReadGrants(c)
	if err != nil {
		return err
	}
	asJSON, shown := c.Bool("json"), &statsOutput{at: c.String("shows"), prefix: c.String("prefix")}
	pattern, err := regexp.Compile(c.String("run"))
	if err != nil {
		return command.UsageError{Text: "-run: " + err.Error()}
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	name, err := command.CheckPath(c.Args().First())
	if err != nil {
		return err
	}
	s, err := findSubject(ctx, granted, name)
	if err != nil {
		return err
	}
	run := testReport{Plugin: s.description, Path: name, Sandbox: s.attach == nil && !granted.Unconfined}
	if s.attach != nil {
		run.Attached = s.attach.PID
	}
	if err := shown.validate(run.Plugin.Kind); err != nil {
		return err
	}
	if run.Claims, err = parseClaims(c.String("claim"), run.Plugin.Kind); err != nil {
		return err
	}
	values, err := readBody(c.String("config"), run.Plugin.Schema)
	if err != nil {
		return err
	}
	invalid, err := readBody(c.String("invalid"), run.Plugin.Schema)
	if err != nil {
		return err
	}
	var t *tracer
	if c.Bool("trace") {
		t = &tracer{w: stderr}
	}
	checks := selectChecks(s.buildChecks(values, invalid, t, shown, run.Claims), pattern)
	begin := time.Now()
	if !asJSON {
		writeDescribed(stdout, run, len(checks))
	}
	run.Failed = plugintest.Evaluate(ctx, checks, func(r plugintest.Result) {
		run.Results = append(run.Results, reportedResult{r.Check.Name, r.Check.Contract, r})
		if !asJSON {
			writeResult(stdout, r)
		}
	})
	switch {
	case asJSON:
		err = command.PrintJSON(stdout, run)
	default:
		err = writeSummary(stdout, run, time.Since(begin))
	}
	return errors.Join(err, run.verdictError(ctx, len(checks)))
}

// readBody reads what would stand in the block of the plugin. Without a path it is nothing.
func readBody(path string, schema plugin.Schema) (map[string]any, error) {
	if path == "" {
		return nil, nil
	}
	return config.LoadBody(path, schema)
}

// verdictError is an error unless all checks ran and none failed.
func (c testReport) verdictError(ctx context.Context, checks int) error {
	switch {
	case c.Failed > 0:
		return errNotConforming
	case ctx.Err() != nil:
		return fmt.Errorf("stopped after %d of %s", len(c.Results), command.CountOf(checks, "check"))
	case checks == 0:
		return errors.New("no check has such a name")
	}
	return nil
}

// suiteOf returns the suite of the kind of a plugin. The suite may fill the disk of a store: a plugin in
// the sandbox writes in its directory only.
func suiteOf(d plugin.Description, t plugintest.Transport, values map[string]any, shown *statsOutput, claims []string) []plugintest.Check {
	open := func(tb testing.TB, dir string) (*plugintest.Opened, error) { return t.Open(tb, dir, values) }
	switch d.Kind {
	case plugin.KindStorage:
		o := storagetest.Opener{Open: open, Disk: true}
		if slices.Contains(d.Capabilities, plugin.Check) {
			o.Inspect = func(tb testing.TB, dir string) (*plugintest.Opened, error) { return t.Inspect(tb, dir, values) }
		}
		return storagetest.Checks(o)
	case plugin.KindStats:
		return statstest.Checks(statstest.Opener{Open: open, Read: shown.reader()})
	default:
		return peersynctest.Checks(peersynctest.Opener{
			Open: func(tb testing.TB, dir string, h peersync.HostServices) (*plugintest.Opened, error) {
				return t.OpenPeerSync(tb, dir, values, h)
			},
			Converges: slices.Contains(claims, peersynctest.ClaimConverges),
			Resumes:   slices.Contains(claims, peersynctest.ClaimResumes),
		})
	}
}

func selectChecks(checks []plugintest.Check, pattern *regexp.Regexp) (out []plugintest.Check) {
	for _, c := range checks {
		if pattern.MatchString(c.Name) {
			out = append(out, c)
		}
	}
	return out
}

func writeDescribed(w io.Writer, c testReport, checks int) {
	where := "each with processes of its own in the sandbox"
	switch {
	case c.Attached != 0:
		where = fmt.Sprintf("all with process %d, which was started by hand: what it has no part in is skipped", c.Attached)
	case !c.Sandbox:
		where = "each with processes of its own without the sandbox"
	}
	fmt.Fprintf(w, "%s plugin %q, version %s, %s\n%s, %s\n\n",
		c.Plugin.Kind, c.Plugin.Name, c.Plugin.Version, c.Path, command.CountOf(checks, "check"), where)
}

// writeResult writes what the contract demands and, if the check failed, what happened
// instead.
func writeResult(w io.Writer, r plugintest.Result) {
	fmt.Fprintf(w, "%-7s  %-22s %6.2fs  %s\n", r.Verdict, r.Check.Name, r.Took.Seconds(), r.Check.Contract)
	for _, line := range r.Output {
		fmt.Fprintf(w, "         %s\n", line)
	}
	if len(r.Logged) > 0 {
		fmt.Fprintf(w, "         the plugin logged last:\n")
	}
	for _, line := range r.Logged {
		fmt.Fprintf(w, "           %s\n", line)
	}
}

func writeSummary(w io.Writer, c testReport, took time.Duration) error {
	counts := make(map[plugintest.Verdict]int)
	var broken []string
	for _, r := range c.Results {
		counts[r.Verdict]++
		if r.Verdict == plugintest.Failed {
			broken = append(broken, r.Name)
		}
	}
	_, err := fmt.Fprintf(w, "\n%s in %s: %d passed, %d failed, %d skipped\n", command.CountOf(len(c.Results), "check"),
		took.Round(time.Second/10), counts[plugintest.Passed], counts[plugintest.Failed], counts[plugintest.Skipped])
	writeClaims(w, c)
	if len(broken) > 0 {
		_, err = fmt.Fprintf(w, "again, only what failed: -run %s\n", pathname.Quote("^("+strings.Join(broken, "|")+")$"))
	}
	return err
}
