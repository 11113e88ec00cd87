package statstest

import (
	"errors"

	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

var lifeChecks = []check{
	{"Close", "Close releases the exporter; numbers that were not flushed may be lost", checkClose},
	{"Reopened", "an exporter whose configuration changed is closed and another one opened, while counting goes on", checkReopened},
	{"Killed", "the process may be killed at any moment; the next one is given the next snapshot", checkKilled},
}

func checkClose(f *fixture) {
	f.reopen() // at once
	f.flush()
	f.reopen()
	f.export(all(1)...)
	if err := f.opened.Close(); err != nil {
		f.Errorf("close without a flush: %v", err)
	}
}

func checkReopened(f *fixture) {
	f.export(all(0)...)
	for n := range uint64(2) {
		f.shows(all(n)...)
		f.reopen()
		f.export(all(n + 1)...)
	}
	f.shows(all(2)...)
}

func checkKilled(f *fixture) {
	if f.opened.Kill == nil {
		f.Skip("the exporter is no process of its own")
	}
	for n := range uint64(3) {
		f.export(all(2 * n)...)
		f.opened.Kill()
		if err := f.exporter.Export(f.Context(), f.next(counted(1))); !errors.Is(err, stats.ErrUnavailable) {
			f.Errorf("export to a process that was killed: %v, want ErrUnavailable", err)
		}
		if err := f.exporter.ForceFlush(f.Context()); !errors.Is(err, stats.ErrUnavailable) {
			f.Errorf("force flush of a process that was killed: %v, want ErrUnavailable", err)
		}
		f.open()
		f.flush()
		f.export(all(2*n + 1)...)
		f.shows(all(2*n + 1)...)
	}
}
