package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"text/tabwriter"
	"time"

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

// listServers prints the servers of the running relay, or those that are configured.
func listServers(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f := newFlags(stderr)
	if err := f.parseArgs(args); err != nil {
		return err
	}
	list, err := collectServers(ctx, f.config)
	if err != nil {
		return err
	}
	if f.JSON {
		return command.PrintJSON(stdout, list)
	}
	return writeServerList(stdout, f.config, list)
}

// showServer prints everything that is known of a server.
func showServer(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f := newFlags(stderr)
	values, err := f.parseValues(args, "NAME")
	if err != nil {
		return err
	}
	list, err := collectServers(ctx, f.config)
	if err != nil {
		return err
	}
	s, err := list.findServer(values[0])
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
	return writeServerDetails(stdout, s)
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
func (l serverList) findServer(name string) (listedServer, error) {
	var names []string
	for _, s := range l.Servers {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	err := fmt.Errorf("there is no server %q", name)
	if len(names) == 0 {
		return listedServer{}, command.WithHint(err, "there are no servers yet; add one with: "+pathname.Command("cwtch-relay", "server", "add", "NAME"))
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
func writeServerList(out io.Writer, path string, list serverList) error {
	if !list.Running {
		fmt.Fprintf(out, "no relay is running; %s has:\n", path)
	}
	if len(list.Servers) == 0 {
		_, err := fmt.Fprintf(out, "no servers; add one with: %s\n", pathname.Command("cwtch-relay", "server", "add", "NAME", "-config", path))
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
		if note := s.describeNote(list.Running, path); note != "" {
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
func (s listedServer) describeNote(running bool, path string) string {
	switch {
	case s.Problem != "":
		return s.Problem
	case running && s.State == manager.StateLocked:
		return "unlock it with: " + pathname.Command("cwtch-relay", "server", "unlock", s.Name, "-config", path)
	}
	return ""
}

// writeServerDetails writes everything of a server for people.
func writeServerDetails(out io.Writer, s listedServer) error {
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
		writeServer(w, *s.status, time.Now())
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
