package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/doctor"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
)

// diagnosis is what the doctor command has found so far. People see each line when it is
// there, since an attempt over Tor takes a while.
type diagnosis struct {
	OK     bool           `json:"ok"`
	Checks []doctor.Check `json:"checks"`

	lines io.Writer // nil for JSON
}

// add adds checks, and prints them.
func (d *diagnosis) add(checks ...doctor.Check) {
	d.Checks = append(d.Checks, checks...)
	for _, c := range checks {
		d.OK = d.OK && c.OK
		if d.lines != nil {
			fmt.Fprintln(d.lines, formatCheck(c))
		}
	}
}

// formatCheck is a check on one line.
func formatCheck(c doctor.Check) string {
	if c.OK {
		return fmt.Sprintf("ok       %s: %s", c.Name, joinLines(c.Text))
	}
	return fmt.Sprintf("PROBLEM  %s: %s. To do: %s", c.Name, strings.TrimSuffix(joinLines(c.Text), "."), joinLines(c.Do))
}

// joinLines is a text on one line.
func joinLines(text string) string { return strings.Join(strings.Fields(text), " ") }

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name: "doctor", ArgsUsage: "[NAME]", Category: categoryRunning, Usage: "say what is wrong, what to do, and whether others reach the servers",
		Description: "It checks configuration, files, clock, disks, memory and Tor, and whether others can reach the servers, or the one that is named. It prints one line each: ok, or what is wrong and what to do.",
		Flags:       withConfig(), Action: command.Action(runDoctor), ShellComplete: completeServers,
	}
}

// runDoctor checks the configuration, this machine and the running relay. The relay itself
// checks what belongs to its process, such as its limits, and whether others reach it.
func runDoctor(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	f, err := readFlags(c, stderr)
	if err != nil {
		return err
	}
	d := &diagnosis{OK: true}
	if !f.JSON {
		d.lines = stdout
	}
	if err := d.examine(ctx, f, f.Args().First()); err != nil {
		return err
	}
	if f.JSON {
		if err := command.PrintJSON(stdout, d); err != nil {
			return err
		}
	}
	if !d.OK {
		return command.ExitStatus(command.ExitError)
	}
	return nil
}

// examine runs all checks. The error is that there is no such server.
func (d *diagnosis) examine(ctx context.Context, f *flags, name string) error {
	path := f.config
	cfg, err := loadConfig(ctx, path)
	d.add(checkConfig(path, cfg, err)...)
	dataDir := ""
	if err == nil {
		dataDir = cfg.DataDir
		var names []string
		for _, s := range cfg.Servers {
			names = append(names, s.Name)
		}
		if name != "" && !slices.Contains(names, name) {
			return command.WithHint(fmt.Errorf("the configuration has no server %q", name), "it has: "+command.Join(names))
		}
	} else if dataDir, err = config.DataDir(path); err != nil {
		return nil // nothing else is known
	}
	checks, servers, err := manager.AskCheckMachine(ctx, dataDir)
	if err != nil {
		d.add(checkWithoutRelay(ctx, path, dataDir, cfg)...)
		d.add(relayCheck(f.nextCommand(), err))
		return nil
	}
	d.add(checks...)
	if name != "" {
		servers = []string{name}
	}
	for _, server := range servers {
		checks, err := manager.AskCheckServer(ctx, dataDir, server)
		var refused *manager.RefusedError
		if errors.As(err, &refused) {
			checks = []doctor.Check{doctor.NotRunning(server, refused.Text)}
		} else if err != nil {
			d.add(relayCheck(f.nextCommand(), err))
			return nil
		}
		d.add(checks...)
	}
	return nil
}

// checkConfig has a line for each mistake in a configuration.
func checkConfig(path string, cfg *loadedConfig, err error) (checks []doctor.Check) {
	var wrong *config.Error
	switch {
	case err == nil:
		return []doctor.Check{{Name: "configuration", OK: true, Text: fmt.Sprintf("%s is valid: %s", path, command.CountOf(len(cfg.Servers), "server"))}}
	case errors.As(err, &wrong):
		for _, d := range wrong.Diagnostics {
			do := d.Hint
			if do == "" {
				do = "correct that line"
			}
			checks = append(checks, doctor.Check{Name: "configuration", Text: fmt.Sprintf("%s line %d: %s", d.Range.File, d.Range.Line, d.Summary), Do: do})
		}
		return checks
	}
	return []doctor.Check{{Name: "configuration", Text: err.Error(), Do: "give the right file with -config, or make one: cwtch-relay init -dir my-server"}}
}

// checkWithoutRelay checks what needs no running relay. cfg is nil if the configuration is
// not valid; what it would say is then left out.
func checkWithoutRelay(ctx context.Context, path, dataDir string, cfg *loadedConfig) []doctor.Check {
	m := doctor.Machine{Config: path, DataDir: dataDir}
	if cfg == nil {
		return m.Check()
	}
	m.TorDir, m.Limits = torDir(cfg.Network), cfg.Limits
	for _, s := range cfg.Servers {
		m.Servers = append(m.Servers, doctor.Server{Name: s.Name, Dir: s.Dir, KeepFree: s.Retention.KeepFree, Off: !s.Autostart})
	}
	checks := m.Check()
	switch t := cfg.Network.Tor; {
	case t == nil:
	case t.Control != "":
		checks = append(checks, doctor.CheckRunningTor(ctx, onion.TorConfig{Control: t.Control, ControlUser: t.ControlUser, ControlCookie: t.ControlCookie}))
	default:
		checks = append(checks, doctor.FindTor(ctx, t.Path))
	}
	return checks
}

// relayCheck says why the relay was not asked, and what is not known because of that.
func relayCheck(start string, err error) doctor.Check {
	c := doctor.Check{Name: "relay", Text: fmt.Sprintf("%v; whether Tor is up and others can reach the servers was not checked", err), Do: "see its log, and restart it"}
	switch {
	case errors.Is(err, manager.ErrNotRunning):
		c.Do = "start it: " + start
	case errors.As(err, new(*manager.RefusedError)):
		c.Do = "restart the relay, if it is of another version"
	}
	return c
}
