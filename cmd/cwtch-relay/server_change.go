package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

// serverChange is what a command that changes a server prints as JSON.
type serverChange struct {
	Server  string        `json:"server"`
	Change  string        `json:"change"`            // "added", "edited", "started", "stopped", "unlocked", "deleted", "passphrase" or "nothing"
	Running bool          `json:"running"`           // whether a relay made the change
	Address string        `json:"address,omitempty"` // with .onion
	Bundle  string        `json:"bundle,omitempty"`  // the text that clients import
	Plan    *manager.Plan `json:"plan,omitempty"`    // what the relay did
}

// changeNothing is the change of a command that had nothing to do.
const changeNothing = "nothing"

// serverFlags are those of a command that changes a server.
type serverFlags struct {
	*flags
	name    string
	dataDir string
}

// readServerFlags reads the flags and arguments of a command for the server NAME.
func readServerFlags(c *cli.Command, stderr io.Writer) (*serverFlags, error) {
	common, err := readFlags(c, stderr)
	if err != nil {
		return nil, err
	}
	f := &serverFlags{flags: common, name: c.Args().First()}
	f.dataDir, err = config.DataDir(f.config)
	return f, err
}

var storageShort = regexp.MustCompile(`(?s)^\s*([a-z][a-z0-9_-]*)\s*(\{.*\})?\s*$`)

// storageBlock is the text of a storage block that a flag gives in short: bolt, or bolt { … }.
func storageBlock(text string) string {
	m := storageShort.FindStringSubmatch(text)
	switch {
	case m == nil:
		return text // a whole block, or a mistake that the reader of the file finds
	case m[2] == "":
		return fmt.Sprintf("storage %q {}", m[1])
	}
	return fmt.Sprintf("storage %q %s", m[1], m[2])
}

// addServer adds a server.
func addServer(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	f, err := readServerFlags(c, stderr)
	if err != nil {
		return err
	}
	file := f.passphraseFile("passphrase-file")
	n := manager.NewServer{
		Name: f.name, Description: f.String("description"), Autostart: f.Bool("autostart"),
		Storage: storageBlock(f.String("storage")), MaxAge: f.String("max-age"), MaxBytes: f.String("max-bytes"),
	}
	if f.Bool("passphrase") || file.file != "" {
		passphrase, err := file.readNewPassphrase(ctx, f.name)
		if err != nil {
			return err
		}
		defer clear(passphrase)
		n.Passphrase = passphrase
	}
	plan, err := manager.AskAdd(ctx, f.dataDir, n)
	if errors.Is(err, manager.ErrNotRunning) {
		return f.addOffline(ctx, n, stdout)
	}
	return f.finishChange("added", plan, err, stdout, stderr)
}

// editServer changes what the file of a server says.
func editServer(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	f, err := readServerFlags(c, stderr)
	if err != nil {
		return err
	}
	change := manager.ServerChange{
		Description: f.givenText("description"), Storage: f.givenText("storage"),
		MaxAge: f.givenText("max-age"), MaxBytes: f.givenText("max-bytes"),
	}
	if change.Storage != nil {
		change.Storage = new(storageBlock(*change.Storage))
	}
	if f.IsSet("autostart") {
		change.Autostart = new(f.Bool("autostart"))
	}
	if change == (manager.ServerChange{}) {
		return command.UsageError{Text: "nothing to change: say -description, -autostart, -storage, -max-age or -max-bytes"}
	}
	plan, err := manager.AskEdit(ctx, f.dataDir, f.name, change)
	if errors.Is(err, manager.ErrNotRunning) {
		return f.editOffline(ctx, change, stdout)
	}
	return f.finishChange("edited", plan, err, stdout, stderr)
}

// givenText is the value of a flag that was given, even if it is empty; nil otherwise.
func (f *serverFlags) givenText(name string) *string {
	if !f.IsSet(name) {
		return nil
	}
	return new(f.String(name))
}

// startServer starts a server of the running relay.
func startServer(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	f, err := readServerFlags(c, stderr)
	if err != nil {
		return err
	}
	file := f.passphraseFile("passphrase-file")
	var passphrase []byte
	if file.file != "" {
		if passphrase, err = readPassphraseFile(file.file); err != nil {
			return err
		}
		defer clear(passphrase)
	}
	plan, err := manager.AskStart(ctx, f.dataDir, f.name, passphrase)
	if errors.Is(err, identity.ErrLocked) && passphrase == nil {
		return f.unlockWith(ctx, file, "started", stdout, stderr)
	}
	return f.finishChange("started", plan, f.explainStopped(err), stdout, stderr)
}

// unlockServer starts a protected server of the running relay.
func unlockServer(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	f, err := readServerFlags(c, stderr)
	if err != nil {
		return err
	}
	file := f.passphraseFile("passphrase-file")
	list, err := collectServers(ctx, f.config)
	if err != nil {
		return err
	}
	s, err := list.findServer(f.name, f.nextCommand)
	switch {
	case err != nil:
		return err
	case !list.Running:
		return f.explainStopped(fmt.Errorf("%w on %s", manager.ErrNotRunning, f.dataDir))
	case !s.Protected:
		return command.WithHint(fmt.Errorf("server %s has no passphrase", f.name), "start it with: "+f.nextCommand("server", "start", f.name))
	case s.State == manager.StateStarting || s.State == manager.StatePublishing || s.State == manager.StateRunning:
		return f.printChange(serverChange{Change: changeNothing, Running: true}, "is unlocked, and was started already", stdout)
	}
	return f.unlockWith(ctx, file, "unlocked", stdout, stderr)
}

// unlockWith asks for the passphrase, and has the relay start the server.
func (f *serverFlags) unlockWith(ctx context.Context, file passphraseInput, change string, stdout, stderr io.Writer) error {
	passphrase, err := file.readPassphrase(ctx, fmt.Sprintf("Passphrase of server %s: ", f.name))
	if err != nil {
		return err
	}
	defer clear(passphrase)
	plan, err := manager.AskUnlock(ctx, f.dataDir, f.name, passphrase)
	return f.finishChange(change, plan, f.explainStopped(err), stdout, stderr)
}

// stopServer stops a server of the running relay.
func stopServer(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	f, err := readServerFlags(c, stderr)
	if err != nil {
		return err
	}
	plan, err := manager.AskStop(ctx, f.dataDir, f.name)
	return f.finishChange("stopped", plan, f.explainStopped(err), stdout, stderr)
}

// changePassphrase sets, changes or removes the passphrase of a server.
func changePassphrase(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	f, err := readServerFlags(c, stderr)
	if err != nil {
		return err
	}
	remove := f.Bool("remove")
	oldFile, newFile := f.passphraseFile("passphrase-file"), f.passphraseFile("new-passphrase-file")
	switch {
	case remove && newFile.file != "":
		return command.UsageError{Text: "-remove and -new-passphrase-file exclude each other"}
	case oldFile.file == "-" && newFile.file == "-":
		return command.UsageError{Text: "only one passphrase can come from standard input"}
	}
	list, err := collectServers(ctx, f.config)
	if err != nil {
		return err
	}
	s, err := list.findServer(f.name, f.nextCommand)
	if err != nil {
		return err
	}
	if remove && !s.Protected {
		return f.printChange(serverChange{Change: changeNothing, Running: list.Running}, "has no passphrase: nothing was changed", stdout)
	}
	var old, new []byte
	if s.Protected {
		if old, err = oldFile.readPassphrase(ctx, fmt.Sprintf("Present passphrase of server %s: ", f.name)); err != nil {
			return err
		}
		defer clear(old)
	}
	if !remove {
		if new, err = newFile.readNewPassphrase(ctx, f.name); err != nil {
			return err
		}
		defer clear(new)
	}
	if list.Running {
		err = manager.AskChangePassphrase(ctx, f.dataDir, f.name, old, new)
	} else {
		err = f.changePassphraseOffline(ctx, old, new)
	}
	if err != nil {
		return f.explainRefusal(err)
	}
	return f.printChange(serverChange{Change: "passphrase", Running: list.Running, Address: s.Address}, describePassphraseChange(s.Protected, remove), stdout)
}

func describePassphraseChange(was, removed bool) string {
	switch {
	case removed:
		return "has no passphrase any more: whoever has the disk has its keys"
	case was:
		return "has another passphrase. Older copies of its key file, as in backups, still open with the old one"
	}
	return "has a passphrase. A copy of its keys from before may still be in backups, and on the disk itself"
}

// deleteServer deletes a server with its messages.
func deleteServer(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	f, err := readServerFlags(c, stderr)
	if err != nil {
		return err
	}
	yes := f.Bool("yes")
	file := f.passphraseFile("passphrase-file")
	if file.file == "-" && !yes {
		return command.UsageError{Text: "with -passphrase-file -, say -yes: the name cannot come from standard input too"}
	}
	list, err := collectServers(ctx, f.config)
	if err != nil {
		return err
	}
	s, err := list.findServer(f.name, f.nextCommand)
	if err != nil {
		return err
	}
	if !yes {
		if err := f.confirmDeletion(ctx, list.Running, s, stderr); err != nil {
			return err
		}
	}
	var passphrase []byte
	if s.Protected {
		if passphrase, err = file.readPassphrase(ctx, fmt.Sprintf("Passphrase of server %s: ", f.name)); err != nil {
			return err
		}
		defer clear(passphrase)
	}
	if list.Running {
		err = manager.AskDelete(ctx, f.dataDir, f.name, passphrase)
	} else {
		err = f.deleteOffline(ctx, passphrase)
	}
	if err != nil {
		return f.explainRefusal(err)
	}
	return f.printChange(serverChange{Change: "deleted", Running: list.Running, Address: s.Address}, "was deleted, with its keys and messages", stdout)
}

// confirmDeletion says what will be lost, and has the person type the name.
func (f *serverFlags) confirmDeletion(ctx context.Context, running bool, s listedServer, stderr io.Writer) error {
	if !running {
		err := f.changeOffline(ctx, func(o *offlineServers) error { return o.countStored(ctx, &s, stderr) })
		if err != nil {
			fmt.Fprintf(stderr, "the messages cannot be counted: %v\n", err)
		}
	}
	fmt.Fprintf(stderr, "This deletes server %s for ever:\n", s.Name)
	if s.Address != "" {
		fmt.Fprintf(stderr, "  its address %s, at which nobody can reach it any more\n", s.Address)
	}
	switch {
	case s.Messages != nil && s.Bytes != nil:
		fmt.Fprintf(stderr, "  %s, %s on the disk\n", command.CountOf(int(*s.Messages), "message"), formatSize(*s.Bytes))
	case s.Bytes != nil:
		fmt.Fprintf(stderr, "  its messages, whose number is not known now, %s on the disk\n", formatSize(*s.Bytes))
	default:
		fmt.Fprintln(stderr, "  its messages, if it has any")
	}
	fmt.Fprintf(stderr, "Type the name of the server to delete it: ")
	line, err := bufio.NewReader(io.LimitReader(os.Stdin, 1024)).ReadString('\n')
	if err != nil {
		fmt.Fprintln(stderr)
	}
	switch {
	case err != nil && line == "":
		return command.WithHint(errors.New("there is nobody to type the name of the server: nothing was deleted"), "in a script, say -yes")
	case strings.TrimSpace(line) != s.Name:
		return command.WithHint(errors.New("this is not its name: nothing was deleted"), "in a script, say -yes")
	}
	return nil
}

// finishChange says what a change of the running relay has done.
func (f *serverFlags) finishChange(change string, plan *manager.Plan, err error, stdout, stderr io.Writer) error {
	if err != nil {
		return f.explainRefusal(err)
	}
	c := serverChange{Change: change, Running: true, Plan: plan}
	if f.JSON || len(plan.Refused) == 0 && (plan.Failed() == 0 || change == "added" || change == "edited") {
		if err := f.printPlan(c, stdout); err != nil {
			return err
		}
	}
	return planError(plan, f.stderr)
}

// printPlan says what a plan has done for the server.
func (f *serverFlags) printPlan(c serverChange, stdout io.Writer) error {
	said := map[string]string{"added": "was added", "edited": "was changed", "started": "was started", "stopped": "was stopped", "unlocked": "was unlocked"}[c.Change]
	if already := describeNoChange(c.Change, f.name, c.Plan); already != "" {
		c.Change, said = changeNothing, already
	}
	for _, s := range c.Plan.Steps {
		if s.Server != f.name || s.Plugin != "" {
			continue
		}
		if s.Note != "" && s.Error == "" && c.Change != "edited" {
			said += "; " + s.Note
		}
		if b, err := bundle.Parse(s.Bundle); s.Bundle != "" && err == nil {
			c.Address, c.Bundle = onionAddress(b.Board), s.Bundle
		}
	}
	if err := f.printChange(c, said, stdout); err != nil || f.JSON || c.Change != "edited" {
		return err
	}
	for _, s := range c.Plan.Steps {
		if s.Error == "" {
			fmt.Fprintf(stdout, "  done    %s\n", s)
		}
	}
	return nil
}

// describeNoChange says what is true if a command had nothing to do; empty if it did something.
func describeNoChange(change, name string, plan *manager.Plan) string {
	did := slices.ContainsFunc(plan.Steps, func(s manager.Step) bool {
		return s.Server == name && s.Plugin == "" && s.Action != manager.ActionSet
	})
	switch {
	case change == "edited" && plan.Unchanged && len(plan.Steps) == 0:
		return "is like that already: nothing was changed"
	case change == "started" && !did:
		return "was started already"
	case change == "unlocked" && !did:
		return "is unlocked, and was started already"
	case change == "stopped" && !did:
		return "is stopped already"
	}
	return ""
}

// printChange says what was done to the server.
func (f *serverFlags) printChange(c serverChange, said string, stdout io.Writer) error {
	c.Server = f.name
	if f.JSON {
		return command.PrintJSON(stdout, c)
	}
	fmt.Fprintf(stdout, "server %s %s\n", c.Server, said)
	if c.Bundle != "" {
		fmt.Fprintf(stdout, "  address  %s\n  bundle   %s\n", c.Address, c.Bundle)
	}
	return nil
}

// explainStopped adds a hint for a command that only a running relay can serve.
func (f *serverFlags) explainStopped(err error) error {
	if errors.Is(err, manager.ErrNotRunning) {
		return command.WithHint(err, "start it with: "+f.nextCommand())
	}
	return err
}

// explainRefusal names the flag of a value that is refused, and says what to do.
func (f *serverFlags) explainRefusal(err error) error {
	var field *manager.FieldError
	switch {
	case errors.As(err, &field) && field.Field == "name":
		return fmt.Errorf("the name %q cannot be used: %s", f.name, field.Text)
	case errors.As(err, &field) && field.Field == "passphrase":
		return errors.New(field.Text)
	case errors.As(err, &field):
		return fmt.Errorf("-%s: %s", strings.ReplaceAll(field.Field, "_", "-"), field.Text)
	case errors.Is(err, manager.ErrNoSuchServer):
		return command.WithHint(fmt.Errorf("there is no server %q", f.name), "list them with: "+f.nextCommand("server", "list"))
	}
	return err
}
