// Command cwtch-relay hosts Cwtch servers: untrusted message boards behind Tor
// onion services.
//
//	cwtch-relay init -dir D                  write D/server.hcl, every option present and commented
//	cwtch-relay validate                     check a configuration without running it
//	cwtch-relay                              run
//	cwtch-relay bundle                       print the text that clients import
//	cwtch-relay status                       ask the running relay how it is
//	cwtch-relay doctor                       what is wrong, what to do, and whether others reach the servers
//	cwtch-relay reload                       apply a changed configuration to the running relay
//	cwtch-relay server list|show             the servers, and everything about one
//	cwtch-relay server add|edit|start|stop|delete|passwd|unlock
//	                                         change one, while the others run
//	cwtch-relay desktop                      run the relay of this user, and open its console in the browser
//	cwtch-relay console                      print an address that opens the console in a browser, once
//	cwtch-relay console new-client           draw a key with which Tor Browser may open its onion service
//	cwtch-relay peer list                    the other relays with a replica of a server, and how the links are
//	cwtch-relay peer add|remove|pause|resume change them in the configuration, and reload it
//	cwtch-relay peer sync|scrub NAME         compare with a peer now
//	cwtch-relay storage check                verify a store, and say what is damaged
//	cwtch-relay storage compact              give the room of what a store has removed back to the disk
//	cwtch-relay storage copy                 copy what one store holds into another
//	cwtch-relay storage accept               let a server go on with another store than its last
//	cwtch-relay plugin list|describe|sum     which plugins there are, what one is, its checksum
//	cwtch-relay plugin test|new              execute cwtch-plugin, for authors of plugins
//	cwtch-relay lab run FILE… -o DIR         simulate relays that replicate a board
//	cwtch-relay completion bash|zsh|fish     print a script that completes command lines
//	cwtch-relay version
//
// "cwtch-relay help COMMAND" explains a command and each of its flags. All but init, version and
// most commands for plugins take -config FILE. Without it they look for server.hcl in the working
// directory, in ~/.config/cwtch-relay and in /etc/cwtch-relay, and say which one they have found.
//
// Facts go to standard output, with -json as JSON; logs, errors and hints go to standard error.
// With -json, an error is one JSON object with "error" and "hint". The exit status is 0, 1 after
// an error, 2 after wrong usage and 78 when the configuration is wrong or missing; status -check
// has those of a monitor.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

func main() { command.Execute(runCommand) }

const programName = "cwtch-relay"

// The categories of commands, as the help has them.
const (
	categoryFirst   = "First start"
	categoryRunning = "Running"
	categoryServers = "Servers"
	categoryPeers   = "Peers"
	categoryPlugins = "Plugins"
	categoryStorage = "Storage"
	categoryLab     = "Experiments"
)

// program returns all commands, for one run.
func program() *cli.Command {
	return &cli.Command{
		Name:  programName,
		Usage: "host Cwtch servers behind Tor onion services",
		Description: "Without a command, it runs the servers of a configuration until SIGTERM or ^C. " +
			"A person at a desktop starts with: cwtch-relay desktop. The operator of a machine starts with: cwtch-relay init -dir my-server",
		Flags:         []cli.Flag{configFlag(), command.JSONFlag()},
		Action:        command.Action(runServe),
		ShellComplete: completeServers,
		Commands: []*cli.Command{
			desktopCommand(), initCommand(), validateCommand(), bundleCommand(),
			statusCommand(), doctorCommand(), reloadCommand(), consoleCommand(),
			serverCommands(), peerCommands(), pluginCommands(), storageCommands(), labCommands(),
			command.HelpCommand(), command.CompletionCommand(), command.VersionCommand(), command.ManualCommand(manualSections...),
		},
	}
}

// manualSections end the manual page.
var manualSections = [][2]string{
	{"EXIT STATUS", "0: all is well.\n\n1: an error, which standard error has with a hint.\n\n2: wrong usage.\n\n78: the configuration is wrong or missing.\n\nstatus -check has those of a monitor: 0, 1, 2 or 3."},
	{"FILES", "server.hcl in the working directory, ~/.config/cwtch-relay/server.hcl and /etc/cwtch-relay/server.hcl are where the configuration is looked for, in this order, unless -config says where it is."},
	{"SEE ALSO", "cwtch-plugin(1)"},
}

// configFault is an error of a configuration that cannot be used.
type configFault struct{ error }

func (e configFault) Unwrap() error { return e.error }

func runCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var err error
	if len(args) > 0 && args[0] == pluginMode { // which nobody types
		err = servePlugin(args[1:])
	} else {
		err = command.Run(ctx, program(), args, stdout, stderr)
	}
	return report(err, command.WantsJSON(args), stderr)
}

// report prints what went wrong, if anything did, and returns the exit status.
func report(err error, asJSON bool, stderr io.Writer) int {
	var answer *manager.RefusedError
	switch {
	case errors.Is(err, manager.ErrNoServer):
		err = configFault{err}
	case errors.As(err, &answer) && strings.HasPrefix(answer.Text, "error: "):
		if !asJSON {
			fmt.Fprintln(stderr, answer.Text) // it has its own places and hints
			return command.ExitConfig
		}
		err = configFault{errors.New(strings.TrimPrefix(answer.Text, "error: "))}
	}
	status := command.Report(programName, err, asJSON, stderr)
	if errors.As(err, new(configFault)) {
		return command.ExitConfig
	}
	return status
}

// commandLine writes a command of this program for a person to run next, with the -config that
// the present one was given.
type commandLine func(args ...string) string

// relayCommand is the commandLine of a command without -config.
func relayCommand(args ...string) string {
	return pathname.Command(append([]string{programName}, args...)...)
}

// configFlag is the flag of a command that reads a configuration.
func configFlag() cli.Flag {
	return command.PathFlag("config", "server.hcl in the working directory, in ~/.config/cwtch-relay or in /etc/cwtch-relay, whichever is there first",
		"Take the configuration from `FILE`.")
}

// serverFlag is the flag of a command for one of the servers.
func serverFlag(usage, defaultText string) cli.Flag {
	return &cli.StringFlag{Name: "server", Usage: usage, DefaultText: defaultText}
}

// withConfig adds the flags that most commands have to others.
func withConfig(others ...cli.Flag) []cli.Flag {
	return append(others, configFlag(), command.JSONFlag())
}

// flags are those of a command that takes -config.
type flags struct {
	*cli.Command
	JSON   bool
	config string
	given  bool      // by the person; otherwise it was found
	stderr io.Writer // for lines beside the error, which JSON has no place for
}

func newFlags(c *cli.Command, stderr io.Writer) *flags {
	f := &flags{Command: c, JSON: c.Bool("json"), config: c.String("config"), given: c.IsSet("config"), stderr: stderr}
	if f.JSON {
		f.stderr = io.Discard
	}
	return f
}

// readFlags reads the flags of a command, and looks for the configuration.
func readFlags(c *cli.Command, stderr io.Writer) (*flags, error) {
	f := newFlags(c, stderr)
	return f, f.findConfig(f.stderr)
}

// findConfig looks for the configuration if the command was not given one, and says which one
// it has found.
func (f *flags) findConfig(notices io.Writer) (err error) {
	if f.given {
		if _, err := os.Stat(f.config); err != nil {
			return configFault{command.WithHint(fmt.Errorf("there is no configuration: %w", err), "give the right file with -config, or make one: cwtch-relay init -dir DIR")}
		}
		return nil
	}
	if f.config, err = config.Find(); err != nil {
		return configFault{err}
	}
	fmt.Fprintf(notices, "configuration: %s\n", f.config)
	return nil
}

// nextCommand is a [commandLine].
func (f *flags) nextCommand(args ...string) string {
	if f.given {
		args = append(slices.Clone(args), "-config", f.config)
	}
	return relayCommand(args...)
}
