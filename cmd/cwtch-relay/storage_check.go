package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/scan"
	"github.com/cwtch-relay/cwtch-relay/core/transfer"
	"github.com/cwtch-relay/cwtch-relay/core/verify"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// shownFaults is how many faults a report for people has.
const shownFaults = 30

// restartTimeout is how long the log of a store that has ended is waited for.
const restartTimeout = 5 * time.Second

// runStorageCheck verifies the store of a server while no relay runs.
func runStorageCheck(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	f, err := readFlags(c, stderr)
	if err != nil {
		return err
	}
	name := f.String("server")
	cfg, err := loadTolerant(ctx, f.config)
	if err != nil {
		return err
	}
	server, err := pickServer(cfg.Config, name, f.nextCommand)
	if err != nil {
		return err
	}
	if server.Storage.Fault != nil {
		return server.Storage.Fault
	}
	ctx, stop := endOnSignal(ctx)
	defer stop()
	job := &checkJob{loadedConfig: cfg, openedStore: &openedStore{role: "check", server: server}, stderr: stderr, next: f.nextCommand}
	report, err := job.runCheck(ctx)
	if err != nil {
		return job.explainCheck(err)
	}
	if f.JSON {
		err = command.PrintJSON(stdout, job.summarizeCheck(report))
	} else {
		err = job.printReport(stdout, report)
	}
	if err == nil && !report.IsWhole() {
		err = fmt.Errorf("%s is damaged: %s", job, command.CountOf(int(report.CountFaults()), "fault"))
	}
	return err
}

// checkJob is one run of runStorageCheck.
type checkJob struct {
	*loadedConfig
	*openedStore
	stderr io.Writer
	next   commandLine
}

func (c *checkJob) runCheck(ctx context.Context) (r verify.Report, err error) {
	if err := c.checkPresent(); err != nil {
		return r, err
	}
	release, err := c.claimDataDir("check")
	if err != nil {
		return r, err
	}
	defer release()
	if c.inspect, err = c.canInspect(ctx, c.openedStore); err != nil {
		return r, err
	}
	if err := c.openStore(ctx, c.openedStore, c.newStoreLogger(c.stderr)); err != nil {
		return r, errors.Join(err, c.closeStores(c.openedStore))
	}
	r, err = verifyStore(ctx, c.openedStore, c.stderr)
	if err == nil {
		err = c.compareMark(ctx, &r)
	}
	return r, errors.Join(err, c.closeStores(c.openedStore))
}

// verifyStore checks an opened store and shows how far it is.
func verifyStore(ctx context.Context, s *openedStore, stderr io.Writer) (verify.Report, error) {
	p := &progress{w: stderr}
	r, err := verify.Store(ctx, s.store.Storage(), func(now verify.Progress) {
		what := [...]string{verify.Bytes: "verified %d of %d bytes of the store", verify.Envelopes: "verified %d of %d envelopes", verify.Tokens: "verified %d of %d spent tokens"}
		p.showProgress(what[now.Phase], now.Done, now.Total)
	})
	if errors.Is(err, storage.ErrUnavailable) { // its next process is not needed, but the log then says why this one ended
		ctx, cancel := context.WithTimeout(ctx, restartTimeout)
		defer cancel()
		s.store.WaitReady(ctx) //nolint:errcheck // err is the reason to be here
	}
	return r, err
}

// compareMark adds what the files beside the store say of it.
func (c *checkJob) compareMark(ctx context.Context, r *verify.Report) error {
	info, err := c.store.Storage().Info(ctx)
	if err != nil {
		return fmt.Errorf("look at the store: %w", err)
	}
	if err := manager.CheckMark(c.server.Dir, info); err != nil {
		r.Faults = append(r.Faults, storage.Fault{Place: "the mark of the server", Text: err.Error()})
	}
	if err := transfer.CheckFinished(ctx, c.server.Dir, c.store.Storage()); err != nil {
		r.Faults = append(r.Faults, storage.Fault{Place: "the whole store", Text: err.Error()})
	}
	if !c.inspect {
		r.Unverified = append(r.Unverified, fmt.Sprintf("the store as it was before: the storage plugin %q cannot open it for inspection, and has opened it as a relay does", c.server.Storage.Name))
	}
	return nil
}

// explainCheck adds the place of a fault of the configuration, or what to do.
func (c *checkJob) explainCheck(err error) error {
	if located, ok := locateFaults(err); ok {
		return located
	}
	var failed *storeError
	if errors.As(err, &failed) && c.inspect && !errors.Is(err, context.Canceled) {
		return command.WithHint(err, "nothing of the store can be read: keep a copy of "+c.dir()+", and restore a backup")
	}
	return err
}

// checkReport is the JSON of a check.
type checkReport struct {
	storePlace
	Whole            bool        `json:"whole"`
	Envelopes        uint64      `json:"envelopes"` // that can be read
	Tokens           uint64      `json:"tokens"`
	Faults           []faultJSON `json:"faults,omitempty"`
	MoreFaults       uint64      `json:"more_faults,omitempty"`
	MissingEnvelopes uint64      `json:"missing_envelopes,omitempty"`
	Missing          scan.Gaps   `json:"missing,omitzero"`
	MissingTokens    uint64      `json:"missing_tokens,omitempty"`
	Unverified       []string    `json:"unverified,omitempty"`
}

type faultJSON struct {
	Place string `json:"place"`
	Text  string `json:"text"`
}

func (c *checkJob) summarizeCheck(r verify.Report) checkReport {
	report := checkReport{
		storePlace: c.place(), Whole: r.IsWhole(), Envelopes: r.Envelopes, Tokens: r.Tokens, MoreFaults: r.MoreFaults,
		MissingEnvelopes: r.MissingEnvelopes, Missing: r.Missing, MissingTokens: r.MissingTokens, Unverified: r.Unverified,
	}
	for _, f := range r.Faults {
		report.Faults = append(report.Faults, faultJSON(f))
	}
	return report
}

// printReport says what was found and what the operator does next.
func (c *checkJob) printReport(w io.Writer, r verify.Report) error {
	state := "whole"
	if !r.IsWhole() {
		state = "DAMAGED"
	}
	fmt.Fprintf(w, "%s: %s, in %s\n", state, c, c.dir())
	fmt.Fprintf(w, "  read      %s and %s\n", command.CountOf(int(r.Envelopes), "envelope"), command.CountOf(int(r.Tokens), "spent token"))
	if r.MissingEnvelopes > 0 || r.MissingTokens > 0 {
		fmt.Fprintf(w, "  missing   %s and %s\n", command.CountOf(int(r.MissingEnvelopes), "envelope"), command.CountOf(int(r.MissingTokens), "spent token"))
	}
	for _, u := range r.Unverified {
		fmt.Fprintf(w, "  not verified: %s\n", u)
	}
	if r.IsWhole() {
		return nil
	}
	fmt.Fprintf(w, "\nfaults:\n")
	shown := r.Faults[:min(len(r.Faults), shownFaults)]
	for _, f := range shown {
		fmt.Fprintf(w, "  - %s: %s\n", f.Place, f.Text)
	}
	if more := uint64(len(r.Faults)-len(shown)) + r.MoreFaults; more > 0 {
		fmt.Fprintf(w, "  - and %d more; -json shows up to %d\n", more, verify.MaxFaults)
	}
	_, err := fmt.Fprintf(w, "\nnext:\n"+
		"  - keep a copy of %s before anything else, and look at its disk (dmesg, smartctl)\n"+
		"  - if you have a backup, restore it: posts since then are lost, and the tokens that paid for them can be spent\n"+
		"    once more\n"+
		"  - otherwise copy what is whole, and use the copy:\n      %s\n", c.dir(), c.salvageCommand())
	return err
}

// salvageCommand is the command that copies what is whole.
func (c *checkJob) salvageCommand() string {
	to := fmt.Sprintf("server %q storage %q { … }", c.server.Name, c.server.Storage.Name)
	switch c.server.Storage.Name {
	case "bolt":
		to = fmt.Sprintf("server %q storage \"bolt\" { path = \"salvaged.db\" }", c.server.Name)
	case "sqlite":
		to = fmt.Sprintf("server %q storage \"sqlite\" { path = \"salvaged.sqlite\" }", c.server.Name)
	}
	return c.next("storage", "copy", "-salvage", "-from", fmt.Sprintf("server %q", c.server.Name), "-to", to)
}
