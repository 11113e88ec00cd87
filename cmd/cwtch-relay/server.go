package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/cmd/internal/suggest"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

// serverList is what server list prints as JSON.
type serverList struct {
	Running bool           `json:"running"` // the relay; otherwise this is what its files say
	Servers []listedServer `json:"servers"`
}

// listedServer is what server list and server show say of a server, of a relay that runs or not.
type listedServer struct {
	Name        string        `json:"name"`
	State       manager.State `json:"state"`
	Address     string        `json:"address,omitempty"` // with .onion
	Description string        `json:"description,omitempty"`
	Autostart   *bool         `json:"autostart,omitempty"` // absent while its file cannot be used
	Protected   bool          `json:"protected"`
	Deleting    bool          `json:"deleting,omitempty"`
	// Messages is absent while nobody knows it: the store is not open, or does not answer.
	Messages    *uint64 `json:"messages,omitempty"`
	Bytes       *uint64 `json:"bytes,omitempty"` // on the disk
	Connections *int64  `json:"connections,omitempty"`
	File        string  `json:"file,omitempty"`
	Problem     string  `json:"problem,omitempty"`
	// Bundle is the text that clients import, in server show. It is absent while the keys
	// are locked.
	Bundle string `json:"bundle,omitempty"`

	status *manager.ServerStatus // of the running relay
}

func serverCommands() *cli.Command {
	passphraseFile := func() cli.Flag {
		return command.PathFlag("passphrase-file", "the terminal", "Read the passphrase from `FILE`; \"-\" is standard input.")
	}
	// present is the default of a setting that is not given: empty, that of a new server.
	settings := func(present string, others ...cli.Flag) []cli.Flag {
		return withConfig(append([]cli.Flag{
			&cli.StringFlag{Name: "description", DefaultText: present, Usage: "Keep `TEXT` with the server as a note of yours, which no client sees."},
			&cli.BoolFlag{Name: "autostart", Value: true, DefaultText: cmp.Or(present, "true"), Usage: "Start the server whenever the relay starts; -autostart=false does not."},
			&cli.StringFlag{Name: "storage", DefaultText: cmp.Or(present, "bolt"), Usage: "Keep messages as the block `'PLUGIN { … }'` says."},
			&cli.StringFlag{Name: "max-age", DefaultText: cmp.Or(present, "365d"), Usage: "Delete messages that are older than `AGE`, such as 30d."},
			&cli.StringFlag{Name: "max-bytes", DefaultText: cmp.Or(present, "2GiB"), Usage: "Delete the oldest messages once there are more than `SIZE`, such as 500MiB."},
		}, others...)...)
	}
	named := func(name, usage string, run command.Func, flags ...cli.Flag) *cli.Command {
		return &cli.Command{Name: name, ArgsUsage: "NAME", Usage: usage, Flags: flags, Action: command.Action(run), ShellComplete: completeServers}
	}
	add := named("add", "add a server, start it, and print its address", addServer, settings("",
		&cli.BoolFlag{Name: "passphrase", Usage: "Ask for a passphrase that protects the keys of the server."}, passphraseFile())...)
	add.Description = "It prints the text that clients import, too. " + aboutPassphraseHelp
	add.ShellComplete = nil
	edit := named("edit", "change what the configuration says of a server", editServer, settings("as it is")...)
	edit.Description = "What no flag names stays as it is. An empty value stands for the default."
	remove := named("delete", "delete a server with its keys and messages", deleteServer, withConfig(
		&cli.BoolFlag{Name: "yes", Usage: "Do not ask whether to delete it."}, passphraseFile())...)
	remove.Description = "It says before what will be lost, and asks for the name."
	passwd := named("passwd", "set, change or remove the passphrase of a server", changePassphrase, withConfig(
		&cli.BoolFlag{Name: "remove", Usage: "Remove the passphrase: whoever has the disk has the keys."}, passphraseFile(),
		command.PathFlag("new-passphrase-file", "the terminal", "Read the new passphrase from `FILE`; \"-\" is standard input."))...)
	passwd.Description = aboutPassphraseHelp
	return &cli.Command{
		Name: "server", Category: categoryServers, Usage: "list and change servers, while others run",
		Commands: []*cli.Command{
			{Name: "list", Usage: "list the servers, and how they are", Flags: withConfig(), Action: command.Action(listServers)},
			named("show", "show everything about a server, and the text that clients import", showServer, withConfig()...),
			add, edit,
			named("start", "start a server of the running relay", startServer, withConfig(passphraseFile())...),
			named("stop", "stop a server until it is started again, or the relay is", stopServer, withConfig()...),
			remove, passwd,
			named("unlock", "start a server whose keys are protected", unlockServer, withConfig(passphraseFile())...),
		},
	}
}

// completeServers prints the names of the servers of a configuration, for the completion of a
// shell. It takes them from the directories of their keys, which needs no plugin, and says nothing
// about what it cannot read.
func completeServers(_ context.Context, c *cli.Command) {
	path := c.String("config")
	if path == "" {
		var err error
		if path, err = config.Find(); err != nil {
			return
		}
	}
	dataDir, err := config.DataDir(path)
	if err != nil {
		return
	}
	servers, err := os.ReadDir(filepath.Join(dataDir, "servers"))
	if err != nil {
		return
	}
	for _, s := range servers {
		if s.IsDir() {
			fmt.Fprintln(c.Writer, s.Name())
		}
	}
}

// listServers prints the servers of the running relay, or those that are configured.
func listServers(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	f, err := readFlags(c, stderr)
	if err != nil {
		return err
	}
	list, err := collectServers(ctx, f.config)
	if err != nil {
		return err
	}
	warnOfUnusedFiles(ctx, f.config, stderr)
	if f.JSON {
		return command.PrintJSON(stdout, list)
	}
	return writeServerList(stdout, f, list)
}

// warnOfUnusedFiles names the files of servers that make no server, so that they are in no list.
func warnOfUnusedFiles(ctx context.Context, path string, stderr io.Writer) {
	cfg, err := loadTolerant(ctx, path)
	if err != nil {
		return // a relay can run on what the file said before
	}
	for _, unused := range cfg.UnusedFiles {
		fmt.Fprintf(stderr, "warning: the file %s makes no server: %s\n", pathname.Quote(unused.File), joinLines(unused.Fault.Error()))
	}
}

// showServer prints everything that is known of a server.
func showServer(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	f, err := readFlags(c, stderr)
	if err != nil {
		return err
	}
	list, err := collectServers(ctx, f.config)
	if err != nil {
		return err
	}
	s, err := list.findServer(f.Args().First(), f.nextCommand)
	if err != nil {
		return err
	}
	if s.Bundle, err = bundleText(ctx, f.config, list.Running, s); err != nil {
		return err
	}
	if f.JSON {
		return command.PrintJSON(stdout, struct {
			Running bool `json:"running"`
			listedServer
		}{list.Running, s})
	}
	return writeServerDetails(stdout, s, f.nextCommand)
}

// collectServers asks the relay for its servers, or reads their files if none runs.
func collectServers(ctx context.Context, path string) (serverList, error) {
	st, err := askStatus(ctx, path, "")
	if errors.Is(err, manager.ErrNotRunning) {
		o, err := openOffline(ctx, path)
		if err != nil {
			return serverList{}, err
		}
		return o.listServers(), nil
	}
	if err != nil {
		return serverList{}, err
	}
	list := serverList{Running: true, Servers: []listedServer{}}
	for _, s := range st.Servers {
		l := newListedServer(s)
		l.status = &s
		list.Servers = append(list.Servers, l)
	}
	return list, nil
}

// newListedServer is a server of a status.
func newListedServer(s manager.ServerStatus) listedServer {
	l := listedServer{
		Name: s.Name, State: s.State, Address: onionAddress(s.Address), Description: s.Description,
		Protected: s.Protected, Deleting: s.Deleting, File: s.File, Problem: s.Problem,
	}
	if !s.Unreadable {
		l.Autostart = &s.Autostart
	}
	if r := s.Relay; r != nil {
		l.Connections = &r.BoardConnections.Open
		if r.Store != nil {
			l.Messages, l.Bytes = &r.Store.Envelopes, &r.Store.Bytes
		}
	}
	return l
}

// sizeOfFiles is what the files below a directory take, as their lengths say.
func sizeOfFiles(dir string) (size uint64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += uint64(info.Size())
		}
		return err
	})
	return size, err
}

// findServer returns the named server.
func (l serverList) findServer(name string, next commandLine) (listedServer, error) {
	var names []string
	for _, s := range l.Servers {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	err := fmt.Errorf("there is no server %q", name)
	if len(names) == 0 {
		return listedServer{}, command.WithHint(err, "there are no servers yet; add one with: "+next("server", "add", "NAME"))
	}
	return listedServer{}, command.WithHint(err, suggest.Name("", name, names)+"There are: "+command.Join(names))
}

// bundleText is the text that clients import. It is empty if there are no keys yet, and while
// they are locked.
func bundleText(ctx context.Context, path string, running bool, s listedServer) (text string, err error) {
	if running {
		var dataDir string
		if dataDir, err = config.DataDir(path); err == nil {
			text, err = manager.AskBundle(ctx, dataDir, s.Name)
		}
	} else {
		var o *offlineServers
		if o, err = openOffline(ctx, path); err != nil {
			return "", err
		}
		var keys *identity.Server
		if keys, err = o.loadKeys(s.Name, nil); err == nil {
			var b bundle.Bundle
			b, err = signBundle(keys)
			text = b.String()
		}
	}
	if errors.Is(err, identity.ErrLocked) || s.Problem != "" || s.Address == "" { // which says why
		return "", nil
	}
	return text, err
}

// writeServerList writes servers for people: a table, and below it what does not fit into a column.
func writeServerList(out io.Writer, f *flags, list serverList) error {
	if !list.Running {
		fmt.Fprintf(out, "no relay is running; %s has:\n", f.config)
	}
	if len(list.Servers) == 0 {
		_, err := fmt.Fprintf(out, "no servers; add one with: %s\n", f.nextCommand("server", "add", "NAME"))
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tADDRESS\tMESSAGES\tSIZE")
	for _, s := range list.Servers {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", s.Name, s.describeState(), s.describeAddress(), s.describeMessages(), s.describeBytes())
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, s := range list.Servers {
		if note := s.describeNote(list.Running, f.nextCommand); note != "" {
			fmt.Fprintf(out, "\n%s: %s\n", s.Name, note)
		}
	}
	return nil
}

func (s listedServer) describeState() string {
	if s.Deleting {
		return "being deleted"
	}
	return string(s.State)
}

func (s listedServer) describeAddress() string {
	if s.Address == "" {
		return "-"
	}
	return s.Address
}

// onionAddress is an address as people and programs give it to others; empty if it is not known.
func onionAddress(o identity.Onion) string {
	if o == "" {
		return ""
	}
	return string(o) + ".onion"
}

func (s listedServer) describeMessages() string {
	if s.Messages == nil {
		return "-"
	}
	return fmt.Sprint(*s.Messages)
}

func (s listedServer) describeBytes() string {
	if s.Bytes == nil {
		return "-"
	}
	return formatSize(*s.Bytes)
}

// describeNote says what is wrong with a server, or what a person can do.
func (s listedServer) describeNote(running bool, next commandLine) string {
	switch {
	case s.Problem != "":
		return s.Problem
	case running && s.State == manager.StateLocked:
		return "unlock it with: " + next("server", "unlock", s.Name)
	}
	return ""
}

// writeServerDetails writes everything of a server for people.
func writeServerDetails(out io.Writer, s listedServer, next commandLine) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "name\t%s\n", s.Name)
	if s.Description != "" {
		fmt.Fprintf(w, "description\t%s\n", s.Description)
	}
	fmt.Fprintf(w, "state\t%s\n", s.describeState())
	if s.Problem != "" {
		fmt.Fprintf(w, "problem\t%s\n", s.Problem)
	}
	fmt.Fprintf(w, "address\t%s\n", s.describeAddress())
	fmt.Fprintf(w, "messages\t%s\n", s.describeMessages())
	fmt.Fprintf(w, "size\t%s\n", s.describeBytes())
	if s.Connections != nil {
		fmt.Fprintf(w, "connections\t%d\n", *s.Connections)
	}
	fmt.Fprintf(w, "starts with the relay\t%s\n", describeAutostart(s.Autostart))
	fmt.Fprintf(w, "passphrase\t%s\n", map[bool]string{true: "set", false: "none"}[s.Protected])
	fmt.Fprintf(w, "file\t%s\n", cmp.Or(s.File, "-"))
	if s.Bundle != "" {
		fmt.Fprintf(w, "key bundle\t%s\n", s.Bundle)
	}
	if s.status != nil {
		writeServer(w, *s.status, time.Now(), next)
	}
	return w.Flush()
}

func describeAutostart(v *bool) string {
	switch {
	case v == nil:
		return "not known"
	case *v:
		return "yes"
	}
	return "no"
}
