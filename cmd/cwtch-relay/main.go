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
//	cwtch-relay version
//
// All but init, version and most commands for plugins take -config FILE. Without it they look for
// server.hcl in the working directory, in ~/.config/cwtch-relay and in /etc/cwtch-relay, and
// say which one they have found.
//
// Facts go to standard output, with -json as JSON; logs, errors and hints go to
// standard error. The exit status is 0, 1 after an error, 2 after wrong usage and 78
// when the configuration is wrong; status -check has those of a monitor.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

func main() { command.Execute(runCommand) }

// program has all commands.
func program() command.Program {
	return command.Program{
		Name:  "cwtch-relay",
		Intro: "cwtch-relay hosts Cwtch servers behind Tor onion services.",
		Commands: []command.Command{
			{Name: "", Args: "[-config FILE] [-json]", About: "run the servers of a configuration until SIGTERM or ^C", Run: runServe},
			{Name: "init", Args: "-dir DIR", About: "write DIR/server.hcl, every option present and commented", Run: runInit},
			{Name: "validate", Args: "[-config FILE] [-json]", About: "check a configuration without running it", Run: runValidate},
			{Name: "bundle", Args: "[-config FILE] [-server NAME] [-o FILE] [-json]", About: "print the text that clients import", Run: printBundle},
			{Name: "status", Args: "[-config FILE] [-server NAME] [-v] [-check] [-json]", About: "ask the running relay how it is; with -check, one line and the exit status of a monitor: 0, 1, 2 or 3", Run: printStatus},
			{Name: "doctor", Args: "[NAME] [-config FILE] [-json]", About: "check configuration, files, clock, disks, memory and Tor, and whether others can reach the servers, or the one that is named; one line each: ok, or what is wrong and what to do", Run: runDoctor},
			{Name: "reload", Args: "[-config FILE] [-dry-run] [-json]", About: "apply a changed configuration to the running relay", Run: runReload},
			{Name: "server list", Args: "[-config FILE] [-json]", About: "the servers, and how they are", Run: listServers},
			{Name: "server show", Args: "NAME [-config FILE] [-json]", About: "everything about a server, and the text that clients import", Run: showServer},
			{Name: "server add", Args: "NAME [-config FILE] [-description TEXT] [-autostart=false] [-passphrase] [-passphrase-file FILE] [-storage 'PLUGIN { … }'] [-max-age AGE] [-max-bytes SIZE] [-json]", About: "add a server, start it, and print its address and the text that clients import; with -passphrase, ask for a passphrase that protects its keys", Run: addServer},
			{Name: "server edit", Args: "NAME [-config FILE] [-description TEXT] [-autostart=true|false] [-storage 'PLUGIN { … }'] [-max-age AGE] [-max-bytes SIZE] [-json]", About: "change what the configuration says of a server; an empty value stands for the default", Run: editServer},
			{Name: "server start", Args: "NAME [-config FILE] [-passphrase-file FILE] [-json]", About: "start a server of the running relay", Run: startServer},
			{Name: "server stop", Args: "NAME [-config FILE] [-json]", About: "stop a server until it is started again, or the relay is", Run: stopServer},
			{Name: "server delete", Args: "NAME [-config FILE] [-yes] [-passphrase-file FILE] [-json]", About: "delete a server with its keys and messages, after saying what will be lost", Run: deleteServer},
			{Name: "server passwd", Args: "NAME [-config FILE] [-remove] [-passphrase-file FILE] [-new-passphrase-file FILE] [-json]", About: "set, change or remove the passphrase that protects the keys of a server", Run: changePassphrase},
			{Name: "server unlock", Args: "NAME [-config FILE] [-passphrase-file FILE] [-json]", About: "start a server whose keys are protected", Run: unlockServer},
			{Name: "desktop", Args: "", About: "for a person at a desktop: make a configuration if there is none, run the relay if it does not run, and open its console in the browser", Run: runDesktop},
			{Name: "console new-client", Args: "[-json]", About: "draw the key of a client of the console's onion service: the public half is for onion_clients in the configuration, the private one for Tor Browser", Run: newConsoleClient},
			{Name: "console", Args: "[-config FILE] [-json]", About: "print an address that opens the console of the running relay in a browser, once", Run: printConsole},
			{Name: "peer list", Args: "[-config FILE] [-server NAME] [-json]", About: "the other relays with a replica of a server, and how the links to them are", Run: listPeers},
			{Name: "peer add", Args: "NAME ONION [-config FILE] [-server NAME] [-role replica|mirror] [-envelopes-per-hour N] [-bytes-per-day SIZE] [-yes] [-json]", About: "add a peer to the configuration, reload it, and print what the other side needs; with -yes, add a peersync plugin if the server has none", Run: addPeer},
			{Name: "peer remove", Args: "NAME [-config FILE] [-server NAME] [-json]", About: "remove a peer from the configuration, and reload it; what came from the peer stays", Run: removePeer},
			{Name: "peer pause", Args: "NAME [-config FILE] [-server NAME] [-json]", About: "keep a peer, and have no link to it", Run: pausePeer},
			{Name: "peer resume", Args: "NAME [-config FILE] [-server NAME] [-json]", About: "end a pause", Run: resumePeer},
			{Name: "peer sync", Args: "NAME [-config FILE] [-server NAME] [-json]", About: "compare with a peer now, and say what came of it", Run: syncPeer},
			{Name: "peer scrub", Args: "NAME [-config FILE] [-server NAME] [-json]", About: "the same, after the keys of the store were read anew", Run: scrubPeer},
			{Name: "plugin list", Args: "[-config FILE] [-json]", About: "which plugins there are, and how they are", Run: listPlugins},
			{Name: "plugin describe", Args: "PATH|KIND/NAME [GRANTS] [-json]", About: "what a plugin says of itself, and what its block may hold", Run: describePlugin},
			{Name: "plugin sum", Args: "PATH [-json]", About: "print the line checksum = … for a plugin block", Run: sumPlugin},
			{Name: "plugin test", Args: "…", About: "does a plugin keep the protocol and the contract of its kind? See cwtch-plugin -help", Run: executeAuthors("test")},
			{Name: "plugin new", Args: "…", About: "write the first files of a plugin; see cwtch-plugin -help", Run: executeAuthors("new")},
			{Name: "storage check", Args: "[-config FILE] [-server NAME] [-json]", About: "verify a whole store, and say what is damaged and what to do; changes nothing", Run: runStorageCheck},
			{Name: "storage compact", Args: "[-config FILE] [-server NAME] [-json]", About: "give the room of what was removed back to the disk, of all servers or of one; the running relay does it, if there is one", Run: runStorageCompact},
			{Name: "storage copy", Args: "[-config FILE] -from STORE -to STORE [-salvage] [-server NAME] [-json]", About: "copy what one store holds into another; with -salvage, what is whole of a damaged one; a STORE is 'server \"NAME\"', 'server \"NAME\" storage \"PLUGIN\" { … }' or 'storage \"PLUGIN\" { … }'", Run: runStorageCopy},
			{Name: "storage accept", Args: "[-config FILE] [-server NAME] [-json]", About: "let a server that refuses its store, as not the one it ran on last, go on with it", Run: runStorageAccept},
			{Name: "lab run", Args: "FILE… [-o DIR] [-seeds N] [-seed N] [-workers N] [GRANTS] [-json]", About: "simulate the scenarios of files: relays that replicate a board, their links and their members; with -o, write DIR/report.json and DIR/report.html", Run: runLab},
			{Name: "version", Args: "[-json]", About: "print the version", Run: command.PrintVersion("cwtch-relay")},
		},
		Trailer: "Where a passphrase is needed, it is asked for at the terminal, or read from the FILE of -passphrase-file;\n\"-\" is standard input.\n\n" + command.GrantsHelp + "\n\nStart with: cwtch-relay init -dir my-server",
	}
}

// configFault is an error of a configuration that cannot be used.
type configFault struct{ error }

func (e configFault) Unwrap() error { return e.error }

func runCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return report(dispatchCommand(ctx, args, stdout, stderr), stdout, stderr)
}

// report prints what went wrong, if anything did, and returns the exit status.
func report(err error, stdout, stderr io.Writer) int {
	var answer *manager.RefusedError
	switch {
	case errors.Is(err, manager.ErrNoServer):
		fmt.Fprintf(stderr, "error: %v\n", err)
		return command.ExitConfig
	case errors.As(err, &answer) && strings.HasPrefix(answer.Text, "error: "):
		fmt.Fprintln(stderr, answer.Text) // it has its own places and hints
		return command.ExitConfig
	}
	status := program().Report(err, stdout, stderr)
	if errors.As(err, new(configFault)) {
		return command.ExitConfig
	}
	return status
}

func dispatchCommand(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == pluginMode {
		return servePlugin(args[1:])
	}
	if len(args) == 0 {
		return runServe(ctx, args, stdout, stderr)
	}
	return program().Run(ctx, args, stdout, stderr)
}

// flags are those of a command that takes -config.
type flags struct {
	*command.Flags
	config string
	stderr io.Writer
}

func newFlags(stderr io.Writer) *flags {
	f := &flags{Flags: command.NewFlags(), stderr: stderr}
	pathname.Var(f.FlagSet, &f.config, "config", "", "")
	return f
}

func (f *flags) parseArgs(args []string) error {
	_, err := f.parseValues(args)
	return err
}

// parseValues is parseArgs for a command that takes values too.
func (f *flags) parseValues(args []string, names ...string) ([]string, error) {
	values, err := f.ParseArgs(args, names...)
	if err == nil {
		err = f.findConfig()
	}
	return values, err
}

// findConfig looks for the configuration if the command was not given one, and says which one
// it has found.
func (f *flags) findConfig() (err error) {
	if f.config != "" {
		return nil
	}
	if f.config, err = config.Find(); err != nil {
		return configFault{err}
	}
	fmt.Fprintf(f.stderr, "configuration: %s\n", f.config)
	return nil
}
