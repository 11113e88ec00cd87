package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/catalog"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/transfer"
	"github.com/cwtch-relay/cwtch-relay/core/verify"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// runStorageCopy copies what one store holds into another, for an operator who changes
// the configuration afterwards.
func runStorageCopy(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	from, to, salvage := c.String("from"), c.String("to"), c.Bool("salvage")
	if from == "" || to == "" {
		return command.UsageError{Text: `say what to copy: -from 'server "NAME"' -to 'server "NAME" storage "PLUGIN" { … }'`}
	}
	f, err := readFlags(c, stderr)
	if err != nil {
		return err
	}
	programs, err := catalog.New(builtInPlugins(), pluginMode)
	if err != nil {
		return err
	}
	plugins := configPlugins(ctx, programs, true) // a fault of another server does not matter
	cfg, stores, err := config.LoadStores(f.config, plugins, f.String("server"), config.Text{Name: "-from", Source: from}, config.Text{Name: "-to", Source: to})
	if err != nil {
		return err
	}
	job := &copyJob{
		loadedConfig: &loadedConfig{cfg, f.config, programs},
		from:         &openedStore{role: "from", server: stores[0], inspect: salvage},
		to:           &openedStore{role: "to", server: stores[1]},
		salvage:      salvage,
		stderr:       stderr,
		next:         f.nextCommand,
	}
	ctx, stop := endOnSignal(ctx)
	defer stop()
	result, err := job.runCopy(ctx)
	if err != nil {
		return job.explainCopy(err)
	}
	if f.JSON {
		err = command.PrintJSON(stdout, job.summarizeCopy(result))
	} else {
		err = job.printReport(stdout, result)
	}
	if err == nil && salvage && (!result.Missing.IsZero() || !job.found.IsWhole()) {
		err = fmt.Errorf("the copy is finished and lacks what %s has lost: %s", job.from, job.describeMissing(result.Missing))
	}
	return err
}

// copyJob is one run of runStorageCopy.
type copyJob struct {
	*loadedConfig
	from, to *openedStore
	salvage  bool
	found    verify.Report // by a check before a salvage
	unnoted  error         // why the server would refuse the copy
	stderr   io.Writer
	next     commandLine
}

func (c *copyJob) runCopy(ctx context.Context) (r transfer.Result, err error) {
	if a, b := c.from.server, c.to.server; a.Dir == b.Dir && a.Storage.Name == b.Storage.Name && bytes.Equal(a.Storage.Msgpack, b.Storage.Msgpack) {
		return r, command.UsageError{Text: "-from and -to are one store"}
	}
	release, err := c.claimDataDir("copy")
	if err != nil {
		return r, err
	}
	defer release()
	if err := c.from.checkPresent(); err != nil {
		return r, err
	}
	if c.salvage {
		ok, err := c.canInspect(ctx, c.from)
		if err == nil && !ok {
			err = fmt.Errorf("the storage plugin %q cannot open a damaged store, so nothing can be salvaged from it", c.from.server.Storage.Name)
		}
		if err != nil {
			return r, err
		}
	}
	if err := c.openBoth(ctx); err != nil {
		return r, errors.Join(err, c.closeStores(c.from, c.to))
	}
	if c.salvage {
		if c.found, err = verifyStore(ctx, c.from, c.stderr); err != nil {
			return r, errors.Join(err, c.closeStores(c.from, c.to))
		}
	}
	r, err = transfer.Copy(ctx, transfer.Config{
		From:     c.from.store.Storage(),
		To:       c.to.store.Storage(),
		Salvage:  c.salvage,
		Dir:      c.to.server.Dir,
		Progress: (&progress{w: c.stderr}).showCopyProgress,
	})
	if err == nil {
		err = c.noteCopy(ctx)
	}
	return r, errors.Join(err, c.closeStores(c.from, c.to))
}

// openBoth opens the source, and only then makes anything of the destination.
func (c *copyJob) openBoth(ctx context.Context) error {
	log := c.newStoreLogger(c.stderr)
	if err := c.openStore(ctx, c.from, log); err != nil {
		return err
	}
	if _, err := manager.LoadOrCreateKeys(c.DataDir, c.to.server.Dir); err != nil { // or no server could start on the copy
		return err
	}
	return c.openStore(ctx, c.to, log)
}

// noteCopy lets the server use the copy without a warning at its next start.
func (c *copyJob) noteCopy(ctx context.Context) error {
	from, err := c.from.store.Storage().Info(ctx)
	if err != nil {
		return fmt.Errorf("look at the source: %w", err)
	}
	to, err := c.to.store.Storage().Info(ctx)
	if err != nil {
		return fmt.Errorf("look at the copy: %w", err)
	}
	if err := manager.NoteCopy(c.to.server.Dir, from, to); err != nil {
		return err
	}
	c.unnoted = manager.CheckMark(c.to.server.Dir, to)
	return nil
}

// explainCopy adds the place of a fault, or how to go on.
func (c *copyJob) explainCopy(err error) error {
	if located, ok := locateFaults(err); ok {
		return located
	}
	var failed *storeError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, storage.ErrUnavailable), errors.Is(err, storage.ErrFull):
		return command.WithHint(err, "the same command goes on where this one stopped")
	case c.salvage:
		return err
	case errors.As(err, &failed) && failed.store == c.from, errors.Is(err, storage.ErrCorrupt):
		return command.WithHint(err, "if the source is damaged, \""+c.next("storage", "check")+"\" says what is lost, and the same copy with -salvage, into an empty store, takes over the rest")
	}
	return err
}

// showCopyProgress shows how far a copy is.
func (p *progress) showCopyProgress(now transfer.Progress) {
	what := [...]string{transfer.Envelopes: "copied %d of %d envelopes", transfer.Tokens: "copied %d of %d spent tokens", transfer.Comparison: "compared %d of %d envelopes and spent tokens"}
	p.showProgress(what[now.Phase], now.Done, now.Total)
}

// copyReport is the JSON of a finished copy.
type copyReport struct {
	From      storePlace      `json:"from"`
	To        storePlace      `json:"to"`
	Envelopes uint64          `json:"envelopes"`
	Tokens    uint64          `json:"tokens"`
	Digest    transfer.Digest `json:"digest"`
	Epoch     string          `json:"epoch"` // of the copy
	Resumed   bool            `json:"resumed"`
	InUse     bool            `json:"in_use"` // the configuration names the copy already
	// Missing is absent unless it was a salvage, and Faults how many the source has. Unnoted
	// is why the server refuses the copy until "storage accept"; empty if it does not.
	Missing *transfer.Missing `json:"missing,omitempty"`
	Faults  uint64            `json:"faults,omitempty"`
	Unnoted string            `json:"unnoted,omitempty"`
}

type storePlace struct {
	Server  string `json:"server"`
	Storage string `json:"storage"`
	Dir     string `json:"dir"`
}

func (s *openedStore) place() storePlace {
	return storePlace{s.server.Name, s.server.Storage.Name, s.dir()}
}

func (c *copyJob) summarizeCopy(r transfer.Result) copyReport {
	report := copyReport{
		From: c.from.place(), To: c.to.place(), Envelopes: r.Envelopes, Tokens: r.Tokens,
		Digest: r.Digest, Epoch: r.Epoch.String(), Resumed: r.Resumed, InUse: c.inUse(),
	}
	if c.salvage {
		report.Missing, report.Faults = &r.Missing, c.found.CountFaults()
	}
	if c.unnoted != nil {
		report.Unnoted = c.unnoted.Error()
	}
	return report
}

// inUse reports whether the configuration names the copy already.
func (c *copyJob) inUse() bool {
	for _, s := range c.Servers {
		if s.Name == c.to.server.Name {
			return s.Storage.Name == c.to.server.Storage.Name && bytes.Equal(s.Storage.Msgpack, c.to.server.Storage.Msgpack)
		}
	}
	return false
}

// printReport says what was done and what the operator does next.
func (c *copyJob) printReport(w io.Writer, r transfer.Result) error {
	of := "of both"
	if c.salvage {
		of = "of the copy, and of what is whole of the source"
	}
	fmt.Fprintf(w, "copied %s and %s\n", command.CountOf(int(r.Envelopes), "envelope"), command.CountOf(int(r.Tokens), "spent token"))
	fmt.Fprintf(w, "  from    %s\n  to      %s\n  digest  %v, %s\n", c.from, c.to, r.Digest, of)
	c.printMissing(w, r.Missing)
	fmt.Fprintf(w, "\nnext:\n")
	if c.inUse() {
		fmt.Fprintf(w, "  - server %q of %s uses the copy already: start the relay\n", c.to.server.Name, c.path)
	} else {
		fmt.Fprintf(w, "  - in %s, have server %q use storage %q as you wrote it for -to, and start the relay\n", c.path, c.to.server.Name, c.to.server.Storage.Name)
	}
	if c.unnoted != nil {
		why := "the source has lost its end or its name"
		if c.from.server.Name != c.to.server.Name {
			why = "it has run on another store"
		}
		fmt.Fprintf(w, "  - before that, tell the server that it may go on with the copy, since %s:\n      %s\n",
			why, c.next("storage", "accept", "-server", c.to.server.Name))
	}
	if c.from.server.Name != c.to.server.Name {
		fmt.Fprintf(w, "  - server %q keeps its own address and its own keys: those of %q are no part of a copy\n", c.to.server.Name, c.from.server.Name)
	}
	_, err := fmt.Fprintf(w, "  - keep %s, in %s, until you are content with the copy\n"+
		"  - do not go back to it once the relay has run on the copy: posts since then are not in it,\n"+
		"    and the tokens that paid for them could be spent once more\n", c.from, c.from.dir())
	return err
}

// shownRanges is how many ranges of numbers a report for people names.
const shownRanges = 10

// printMissing says what a salvage could not copy.
func (c *copyJob) printMissing(w io.Writer, m transfer.Missing) {
	if !c.salvage {
		return
	}
	if c.found.IsWhole() && m.IsZero() {
		fmt.Fprintln(w, "  missing nothing: the source is whole")
		return
	}
	fmt.Fprintf(w, "  missing %s\n", c.describeMissing(m))
	if m.Gaps.Count > 0 {
		fmt.Fprintf(w, "  where   %s in the log of the source", m.Gaps.Describe(shownRanges))
		if m.Gaps.Count > m.Envelopes {
			fmt.Fprint(w, ", where old envelopes were that it has removed, too")
		}
		fmt.Fprintln(w)
	}
	for _, f := range c.found.Faults[:min(len(c.found.Faults), shownRanges)] {
		fmt.Fprintf(w, "  fault   %s: %s\n", f.Place, f.Text)
	}
	if more := c.found.CountFaults(); more > shownRanges {
		fmt.Fprintf(w, "  fault   and %d more, see \"%s\"\n", more-shownRanges, c.next("storage", "check"))
	}
	fmt.Fprintln(w, "  numbers the copy counts from 1 without gaps; members go on where they were, and those whose last\n"+
		"          message is missing get everything again")
	if m.Tokens > 0 {
		fmt.Fprintln(w, "  tokens  whoever kept one of the missing ones can spend it once more")
	}
}

func (c *copyJob) describeMissing(m transfer.Missing) string {
	text := fmt.Sprintf("%s and %s", command.CountOf(int(m.Envelopes), "envelope"), command.CountOf(int(m.Tokens), "spent token"))
	if m.Paid > 0 {
		text += fmt.Sprintf("; %s paid for envelopes that are not there", command.CountOf(int(m.Paid), "spent token"))
	}
	if n := c.found.CountFaults(); n > 0 {
		text += fmt.Sprintf(", as far as that is known of a store with %s", command.CountOf(int(n), "fault"))
	}
	return text
}
