package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/ownership"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

func initCommand() *cli.Command {
	return &cli.Command{
		Name: "init", Category: categoryFirst, Usage: "write a configuration to start from",
		Description: "It writes DIR/server.hcl, with every option present and commented. The first start makes the keys.",
		Flags:       []cli.Flag{command.PathFlag("dir", "", "Make the directory `DIR` and write into it; required."), command.JSONFlag()},
		Action:      command.Action(runInit),
	}
}

func validateCommand() *cli.Command {
	return &cli.Command{
		Name: "validate", Category: categoryFirst, Usage: "check a configuration without running it",
		Flags: withConfig(), Action: command.Action(runValidate),
	}
}

func bundleCommand() *cli.Command {
	return &cli.Command{
		Name: "bundle", Category: categoryFirst, Usage: "print the text that clients import",
		Description: "It reads the keys of the server, and makes them if the relay was never started.",
		Flags: withConfig(
			serverFlag("Print that of the server `NAME`.", "the only one"),
			command.PathFlag("o", "standard output", "Write the text to `FILE`."),
		),
		Action: command.Action(printBundle),
	}
}

// runInit writes a configuration to start from. The first start makes the keys, so a
// copied configuration never means copied keys.
func runInit(_ context.Context, c *cli.Command, stdout, _ io.Writer) error {
	dir := c.String("dir")
	if dir == "" {
		return command.UsageError{Text: "no directory given: say -dir DIR"}
	}
	err := durable.MakeDir(dir, 0o700)
	if errors.Is(err, fs.ErrPermission) {
		return command.WithHint(fmt.Errorf("make the directory: %w", err), ownership.NotWritable(dir))
	}
	if err != nil {
		return fmt.Errorf("make the directory: %w", err)
	}
	path := filepath.Join(dir, "server.hcl")
	err = durable.CreateFile(path, []byte(config.Template(builtInDescriptions())), 0o600)
	if errors.Is(err, fs.ErrExist) {
		return command.WithHint(fmt.Errorf("%s exists already and is left as it is", path), "give another directory, or move the file aside first")
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if c.Bool("json") {
		return command.PrintJSON(stdout, map[string]string{"config": path})
	}
	_, err = fmt.Fprintf(stdout, "wrote %s\n\n%s\n\nrun it with:  %s\n", path, describeRetention(), pathname.Command("cwtch-relay", "-config", path))
	return err
}

// describeRetention says how much a server keeps that is left as init writes it.
func describeRetention() string {
	defaults := make(map[string]string)
	for _, a := range limits.RetentionSchema().Attributes {
		defaults[a.Name] = a.Default
	}
	return fmt.Sprintf("Messages stay for %s, and the oldest go earlier once there are %s or %s of them.\nThe store then takes up to a third more on the disk, and 1 GiB or a tenth of the disk stays free.\nThe block \"retention\" of that file changes this.",
		strings.Replace(defaults["max_age"], "d", " days", 1), strings.Replace(defaults["max_bytes"], "GiB", " GiB", 1), strings.Replace(defaults["max_count"], "000000", " million", 1))
}

func runValidate(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	f, err := readFlags(c, stderr)
	if err != nil {
		return err
	}
	cfg, err := loadConfig(ctx, f.config)
	if err != nil {
		return err
	}
	if t := cfg.Network.Tor; t != nil && t.Control == "" {
		if _, err := exec.LookPath(t.Path); err != nil {
			return command.WithHint(fmt.Errorf("%s: tor is not there: %w", cfg.Network.Range, err), "install it (apt-get install tor), or set path to where it is")
		}
	}
	names := make([]string, len(cfg.Servers))
	for i, s := range cfg.Servers {
		names[i] = s.Name
		if err := manager.CheckPeers(cfg.DataDir, manager.ServerConfig{Name: s.Name, Dir: s.Dir, Peers: peerConfigs(s.Peers)}); err != nil {
			return configFault{err}
		}
	}
	if f.JSON {
		return command.PrintJSON(stdout, map[string]any{"config": f.config, "valid": true, "servers": names})
	}
	_, err = fmt.Fprintf(stdout, "%s is valid: %s\n", f.config, command.CountOf(len(names), "server"))
	return err
}

// printBundle prints what clients import, from the keys on disk. It makes the keys if the
// relay was never started, so that an operator can hand out the text before.
func printBundle(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	f, err := readFlags(c, stderr)
	if err != nil {
		return err
	}
	name, file := f.String("server"), f.String("o")
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
	b, err := bundleOf(cfg.Config, server)
	if errors.Is(err, identity.ErrLocked) { // the relay may have the keys
		b, err = askForBundle(ctx, f, cfg.DataDir, server.Name)
	}
	if err != nil {
		return err
	}
	if file != "" {
		if err := durable.WriteOutput(file, []byte(b.String()), 0o600); err != nil {
			return fmt.Errorf("write the bundle: %w", err)
		}
		return nil
	}
	if f.JSON {
		return command.PrintJSON(stdout, startedServer{Server: server.Name, Board: b.Board, TokenService: b.TokenService, Bundle: b.String()})
	}
	_, err = fmt.Fprintln(stdout, b)
	return err
}

// askForBundle asks the relay for the bundle of a protected server.
func askForBundle(ctx context.Context, f *flags, dataDir, name string) (b bundle.Bundle, err error) {
	text, err := manager.AskBundle(ctx, dataDir, name)
	if errors.Is(err, manager.ErrNotRunning) {
		return b, command.WithHint(fmt.Errorf("the keys of server %s are protected with a passphrase, and no relay runs that has them", name),
			"start the relay, and unlock it with: "+f.nextCommand("server", "unlock", name))
	}
	if errors.Is(err, identity.ErrLocked) {
		return b, command.WithHint(fmt.Errorf("server %s is locked", name), "unlock it with: "+f.nextCommand("server", "unlock", name))
	}
	if err != nil {
		return b, err
	}
	return bundle.Parse(text)
}

func pickServer(cfg *config.Config, name string, next commandLine) (config.Server, error) {
	if len(cfg.Servers) == 0 {
		return config.Server{}, command.WithHint(errors.New("the configuration has no servers"), "add one: "+next("server", "add", "NAME"))
	}
	if name == "" && len(cfg.Servers) > 1 {
		return config.Server{}, command.WithHint(errors.New("the configuration has several servers"), "say which one: -server "+cfg.Servers[0].Name)
	}
	for _, s := range cfg.Servers {
		if name == "" || s.Name == name {
			return s, nil
		}
	}
	return config.Server{}, command.WithHint(fmt.Errorf("the configuration has no server %q", name), "its first one is "+cfg.Servers[0].Name)
}

func bundleOf(cfg *config.Config, s config.Server) (bundle.Bundle, error) {
	keys, err := manager.LoadOrCreateKeys(cfg.DataDir, s.Dir)
	if err != nil {
		return bundle.Bundle{}, err
	}
	return signBundle(keys)
}

func signBundle(keys *identity.Server) (bundle.Bundle, error) {
	key, err := token.NewKey(keys.Scalar)
	if err != nil {
		return bundle.Bundle{}, fmt.Errorf("sign the bundle: %w", err)
	}
	return bundle.New(keys, key.Public()), nil
}
