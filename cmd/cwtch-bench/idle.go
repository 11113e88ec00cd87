package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// idleGroup is the title of the rows of idleRows. Their names begin with "calm", which
// reports of earlier runs have.
const idleGroup = "idle relay with three plugins"

// idleProcesses are the processes whose memory is reported, the relay first.
var idleProcesses = []string{"relay", "storage", "stats", "peersync"}

func idleRows(p plan) group {
	names := []string{"the relay", p.Storage, "stats-stdout", "peersync-nop"}
	g := group{title: idleGroup, rows: []*row{
		{Name: "calm.cpu", Text: fmt.Sprintf("all processes, of a core, over %v", p.IdleTime), Unit: "% CPU", Target: atMost(0.5)},
	}}
	for i, name := range idleProcesses {
		g.rows = append(g.rows, &row{Name: "calm." + name + ".memory", Text: "resident memory of " + names[i], Unit: "MiB"})
	}
	return g
}

// measureIdleRelay measures a relay with a plugin of each kind that has nothing to do.
func (b *bench) measureIdleRelay(ctx context.Context) error {
	if b.examples == "" {
		return nil
	}
	s, err := b.prepareHome(ctx, "calm", b.plan.Few, bornNow)
	if err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)
	for _, e := range examples {
		s.declared += fmt.Sprintf("plugin %q %q {\n  path = %q\n  dev = true\n}\n", e.kind, e.name, filepath.Join(b.examples, e.dir))
		s.used += fmt.Sprintf("  %s %q {}\n", e.kind, e.name)
	}
	r, err := b.startRelay(ctx, s)
	if err != nil {
		return err
	}
	defer r.killRunning()
	pids, err := r.awaitServingPlugins(ctx)
	if err != nil {
		return err
	}
	for i, pid := range pids {
		resident, err := awaitStableRSS(ctx, pid)
		if err != nil {
			return err
		}
		b.sheet.setFigure("calm."+idleProcesses[i]+".memory", float64(resident)/1024)
	}
	before, err := cpuTimeOf(pids)
	if err != nil {
		return err
	}
	start := time.Now()
	select {
	case <-time.After(b.plan.IdleTime):
	case <-ctx.Done():
		return ctx.Err()
	}
	elapsed := time.Since(start)
	after, err := cpuTimeOf(pids)
	if err != nil {
		return err
	}
	b.sheet.setFigure("calm.cpu", 100*(after-before).Seconds()/elapsed.Seconds())
	return r.stopAndWait()
}

// cpuTimeOf is the processor time of all processes together.
func cpuTimeOf(pids []int) (sum time.Duration, err error) {
	for _, pid := range pids {
		one, err := cpuTime(pid)
		if err != nil {
			return 0, err
		}
		sum += one
	}
	return sum, nil
}

// awaitServingPlugins waits until all plugins of the relay serve, and returns the processes as
// idleProcesses names them.
func (r *relay) awaitServingPlugins(ctx context.Context) ([]int, error) {
	for {
		st, err := manager.AskStatus(ctx, r.dataDir())
		if err != nil {
			return nil, err
		}
		server := st.Servers[0]
		pids := []int{st.PID, server.Storage.PID}
		for _, p := range server.Others { // stats first, as in the file
			if p.State.Serving() {
				pids = append(pids, p.PID)
			}
		}
		if len(pids) == len(idleProcesses) {
			return pids, nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// examples are the plugins that the relay does not come with, in the order of
// idleProcesses.
var examples = []struct {
	kind      plugin.Kind
	name, dir string
}{
	{plugin.KindStats, "stdout", "stats-stdout"},
	{plugin.KindPeerSync, "nop", "peersync-nop"},
}

// buildExamples builds the example plugins of the checkout around the working
// directory, and returns the directory that they are in.
func (b *bench) buildExamples(ctx context.Context) (string, error) {
	root, err := findCheckout()
	if err != nil {
		return "", err
	}
	out := filepath.Join(b.dir, "examples")
	for _, e := range examples {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(out, e.dir), ".")
		cmd.Dir = filepath.Join(root, "examples", e.dir) // a module of its own
		if text, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build examples/%s: %w\n%s", e.dir, err, text)
		}
	}
	return out, nil
}

// findCheckout is the directory above the working directory that has the examples.
func findCheckout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "examples", examples[0].dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("the plugins are built from a checkout of the project, and the working directory is in none")
		}
	}
}
