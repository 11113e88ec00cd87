package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/core/lab"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

func labCommands() *cli.Command {
	return &cli.Command{
		Name: "lab", Category: categoryLab, Usage: "simulate relays that replicate a board",
		Commands: []*cli.Command{{
			Name: "run", ArgsUsage: "FILE…", Usage: "simulate the scenarios of files",
			Description: "A scenario has relays that replicate a board, their links and their members.",
			Flags: append(command.GrantFlags(),
				command.PathFlag("o", "", "Write report.json and report.html into `DIR`."),
				&cli.IntFlag{Name: "seeds", DefaultText: "as the file says", Usage: "Simulate each scenario `N` times."},
				&cli.Uint64Flag{Name: "seed", DefaultText: "as the file says", Usage: "Begin with the seed `N`."},
				&cli.IntFlag{Name: "workers", DefaultText: "one for each processor", Usage: "Run `N` simulations at a time."},
				command.JSONFlag()),
			Action: command.Action(runLab),
		}},
	}
}

// runLab simulates scenarios, prints what came of them, and writes reports.
func runLab(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	dir, workers, seeds, first := c.String("o"), c.Int("workers"), c.Int("seeds"), c.Uint64("seed")
	granted, err := command.ReadGrants(c)
	if err != nil {
		return err
	}
	if workers < 0 || seeds < 0 {
		return command.UsageError{Text: "-workers and -seeds take numbers of at least 1"}
	}
	scratch, err := os.MkdirTemp("", "cwtch-lab-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	finder := algorithms{granted: granted, dir: scratch, log: slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	cfg := lab.Config{Workers: workers, Find: func(name string) (*lab.Algorithm, error) { return finder.find(ctx, name) }}
	for _, path := range c.Args().Slice() {
		if path, err = command.CheckPath(path); err != nil {
			return err
		}
		s, err := lab.Load(path, builtInAlgorithms()...)
		if err != nil {
			return err
		}
		if seeds > 0 {
			s.Seeds = seeds
		}
		if first > 0 {
			s.FirstSeed = first
		}
		cfg.Scenarios = append(cfg.Scenarios, s)
	}
	cfg.Progress = func(done, all int) {
		if done*20/all > (done-1)*20/all {
			fmt.Fprintf(stderr, "%d of %s\n", done, command.CountOf(all, "run"))
		}
	}
	report, err := lab.Run(ctx, cfg)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		err = command.PrintJSON(stdout, report)
	} else {
		err = report.WriteTable(stdout)
	}
	if err == nil && dir != "" {
		err = report.WriteFiles(dir)
	}
	if err != nil {
		return err
	}
	if broken := report.Broken(); len(broken) > 0 {
		return command.WithHint(fmt.Errorf("%s: %w", command.CountOf(len(broken), "run")+" broke an invariant", &broken[0]),
			fmt.Sprintf("cwtch-relay lab run -seeds 1 -seed %d with the same file repeats it", broken[0].Seed))
	}
	return nil
}

// algorithms finds the algorithms of scenarios: by the name of a built-in plugin or of a baseline,
// or by the path of a program, which has a slash.
type algorithms struct {
	granted *command.Grants
	dir     string // of the programs
	log     *slog.Logger
	found   []foundAlgorithm
}

type foundAlgorithm struct {
	name string
	*lab.Algorithm
}

// find looks for each algorithm once.
func (a *algorithms) find(ctx context.Context, name string) (found *lab.Algorithm, err error) {
	if i := slices.IndexFunc(a.found, func(f foundAlgorithm) bool { return f.name == name }); i >= 0 {
		return a.found[i].Algorithm, nil
	}
	if strings.ContainsRune(name, filepath.Separator) {
		found, err = a.describeProgram(ctx, name)
	} else {
		found, err = namedAlgorithm(name)
	}
	if err == nil {
		a.found = append(a.found, foundAlgorithm{name, found})
	}
	return found, err
}

func namedAlgorithm(name string) (*lab.Algorithm, error) {
	if a := lab.Baseline(name); a != nil {
		return a, nil
	}
	i := slices.IndexFunc(builtInPlugins(), func(p plugin.Plugin) bool { return p.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("there is no peer-sync plugin %q", name)
	}
	return lab.FromPlugin(builtInPlugins()[i])
}

// builtInAlgorithms returns the names of the built-in peer-sync plugins.
func builtInAlgorithms() (names []string) {
	for _, p := range builtInPlugins() {
		if p.Describe().Kind == plugin.KindPeerSync {
			names = append(names, p.Name)
		}
	}
	return names
}

// describeProgram asks a program what it is. Its processes are confined as in a relay.
func (a *algorithms) describeProgram(ctx context.Context, path string) (*lab.Algorithm, error) {
	p, err := a.granted.Program(path)
	if err != nil {
		return nil, err
	}
	d, err := p.Describe(ctx)
	if err != nil {
		return nil, err
	}
	return lab.FromProcess(d, a.dir, a.log, func() (pluginproc.Command, error) { return p.Confined(a.dir) })
}
