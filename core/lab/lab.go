package lab

import (
	"context"
	"fmt"
	"runtime"
	"sync"
)

// Config says what is run.
type Config struct {
	Scenarios []*Scenario
	// Find returns the algorithm of a name in a scenario.
	Find func(name string) (*Algorithm, error)
	// Workers is how many runs are under way at a time; 0: one for each processor. The result does
	// not depend on it.
	Workers int
	// Progress, if set, is told of each run that has ended. Calls do not overlap.
	Progress func(done, all int)
}

// job is one run.
type job struct {
	scenario  *Scenario // at the point
	algorithm *Algorithm
	seed      uint64
	measures  measures
	violation *Violation
	err       error
}

// Run runs all scenarios. It returns an error if a run was not possible. Runs that broke an
// invariant are in the report.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	jobs, err := planJobs(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	workers := cfg.Workers
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	queue := make(chan *job)
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for range workers {
		wg.Go(func() {
			for j := range queue {
				if j.run(ctx); j.err != nil {
					cancel()
				}
				mu.Lock()
				done++
				if cfg.Progress != nil {
					cfg.Progress(done, len(jobs))
				}
				mu.Unlock()
			}
		})
	}
	for _, j := range jobs {
		queue <- j
	}
	close(queue)
	wg.Wait()
	for _, j := range jobs {
		if j.err != nil && j.err != context.Canceled { //nolint:errorlint // the others were cancelled because of this one
			return nil, fmt.Errorf("scenario %s, algorithm %s, seed %d: %w", j.scenario.Name, j.algorithm.Label, j.seed, j.err)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return newReport(cfg, jobs), nil
}

// planJobs lists all runs: by scenario, point, algorithm and seed.
func planJobs(cfg Config) (jobs []*job, err error) {
	for _, s := range cfg.Scenarios {
		for _, p := range s.points() {
			for _, name := range s.Algorithms {
				a, err := cfg.Find(name)
				if err != nil {
					return nil, fmt.Errorf("scenario %s: %w", s.Name, err)
				}
				labelled := *a
				labelled.Label = name
				for i := range s.Seeds {
					jobs = append(jobs, &job{scenario: s.at(p), algorithm: &labelled, seed: s.FirstSeed + uint64(i)})
				}
			}
		}
	}
	return jobs, nil
}

// run runs a job.
func (j *job) run(ctx context.Context) {
	w := newWorld(ctx, j.scenario, j.algorithm, j.seed)
	defer w.close()
	j.err = w.run()
	j.violation = w.violation
	if !w.frozen {
		w.freeze()
	}
	w.measured.tally.Missing, w.measured.tally.Compared = w.tally.Missing, w.tally.Compared
	w.measured.tally.HealedAfter, w.measured.tally.QuietBytes = w.tally.HealedAfter, w.tally.QuietBytes
	w.measured.steps = w.steps
	j.measures = w.measured
}

// close closes all plugins.
func (w *world) close() {
	for _, n := range w.nodes {
		if n.on {
			n.closeReplicator()
		}
	}
}
