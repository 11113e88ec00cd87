package statstest

import (
	"errors"

	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

var lifecycleChecks = []check{
	{"Close", "Close releases the exporter; numbers that were not flushed may be lost", checkClose},
	{"Reopened", "after a change of its configuration an exporter is closed and another one opened, while counting goes on", checkReopened},
	{"Killed", "the process may be killed at any moment; the next one gets the next snapshot", checkKilled},
}

func checkClose(f *fixture) {
	f.reopenExporter() // at once
	f.mustFlush()
	f.reopenExporter()
	f.mustExport(allMetrics(1)...)
	if err := f.opened.Close(); err != nil {
		f.Errorf("close without a flush: %v", err)
	}
}

func checkReopened(f *fixture) {
	f.mustExport(allMetrics(0)...)
	for n := range uint64(2) {
		f.expectShown(allMetrics(n)...)
		f.reopenExporter()
		f.mustExport(allMetrics(n + 1)...)
	}
	f.expectShown(allMetrics(2)...)
}

func checkKilled(f *fixture) {
	if f.opened.Kill == nil {
		f.Skip("the exporter is not a process of its own")
	}
	for n := range uint64(3) {
		f.mustExport(allMetrics(2 * n)...)
		f.opened.Kill()
		if err := f.exporter.Export(f.Context(), f.nextSnapshot(counterOf(1))); !errors.Is(err, stats.ErrUnavailable) {
			f.Errorf("export to a killed process: %v, want ErrUnavailable", err)
		}
		if err := f.exporter.ForceFlush(f.Context()); !errors.Is(err, stats.ErrUnavailable) {
			f.Errorf("force flush of a killed process: %v, want ErrUnavailable", err)
		}
		f.openExporter()
		f.mustFlush()
		f.mustExport(allMetrics(2*n + 1)...)
		f.expectShown(allMetrics(2*n + 1)...)
	}
}
