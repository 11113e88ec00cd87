package profile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/group"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/ownership"
)

// version is the format of profile.json. A program refuses a newer one. In version
// 1 a position was a single signature, and there were no histories, names and
// printed messages; version 2 had no nicknames and no unfinished posts; version 3 had
// no server-less groups and no servers on this machine.
const version = 4

// document is profile.json. It has servers and groups in the text forms that
// people pass on: reading these checks them.
type document struct {
	Version  int
	Identity []byte // seed
	Servers  []serverEntry
	Groups   []groupEntry
}

type serverEntry struct {
	Bundle   string
	Tokens   [][]byte        // T, then W
	Last     []byte          `json:",omitempty"` // version 1
	Position client.Position `json:"Place"`
	History  []byte          `json:"Trail"`
	Local    string          `json:",omitempty"`
	Listed   bool            `json:",omitempty"`
}

type groupEntry struct {
	Name   string
	Invite string
	Head   []byte
	Synced []byte `json:",omitempty"` // version 1
	Read   []byte `json:",omitempty"` // version 1

	SyncedPosition client.Position `json:"SyncedPlace"`
	ReadPosition   client.Position `json:"ReadPlace"`
	Printed        []byte
	Names          []nameEntry
	Unfinished     *Unfinished `json:",omitempty"`

	// Of a server-less group, whose invite has the list of its hosts.
	Manager  []byte      `json:",omitempty"` // seed
	HeadTime int64       `json:",omitempty"` // Unix seconds
	Checked  int64       `json:",omitempty"` // Unix seconds
	Hosts    []hostEntry `json:",omitempty"`
	Left     []hostEntry `json:",omitempty"` // hosts that left
}

type hostEntry struct {
	Board         identity.Onion
	Read, Bridged client.Position `json:",omitempty"`
	Seen, Failed  int64           `json:",omitempty"` // Unix seconds
	Down          bool            `json:",omitempty"`
	Error         string          `json:",omitempty"`
	Alone         int             `json:",omitempty"`
	Left          int64           `json:",omitempty"` // Unix seconds
}

type nameEntry struct {
	Name string
	From identity.Onion
	Nick string `json:",omitempty"`
}

// loadState reads and checks a profile. Its errors name the file, not what is in it.
func loadState(path string) (*State, error) {
	b, err := readPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("read profile: %w", err)
	}
	var d document
	if json.Unmarshal(b, &d) != nil {
		return nil, fmt.Errorf("read profile: %s is damaged; restore it from a backup", path)
	}
	if d.Version < 1 || d.Version > version {
		return nil, fmt.Errorf("read profile: %s has format %d, and this program knows formats up to %d; use the newer program that wrote it", path, d.Version, version)
	}
	s, err := d.toState()
	if err != nil {
		return nil, fmt.Errorf("read profile: %s is damaged (%w); restore it from a backup", path, err)
	}
	return s, nil
}

func (d document) toState() (*State, error) {
	if len(d.Identity) != 32 {
		return nil, errors.New("identity")
	}
	s := &State{Identity: identity.KeyFromSeed([32]byte(d.Identity))}
	for i, e := range d.Servers {
		b, err := bundle.Parse(e.Bundle)
		if err != nil {
			return nil, fmt.Errorf("server %d", i)
		}
		server := &Server{Bundle: b, Position: e.Position, History: client.NewHistory(), Local: e.Local, Listed: e.Listed}
		if len(e.Last) > 0 {
			server.Position = client.Position{{Signature: e.Last, Number: server.History.Add(e.Last)}}
		}
		if len(e.History) > 0 {
			if err := server.History.UnmarshalBinary(e.History); err != nil {
				return nil, fmt.Errorf("history of server %d", i)
			}
		}
		for _, t := range e.Tokens {
			if len(t) != 64 {
				return nil, fmt.Errorf("tokens of server %d", i)
			}
			server.Tokens = append(server.Tokens, token.Token{T: [32]byte(t), W: [32]byte(t[32:])})
		}
		s.Servers = append(s.Servers, server)
	}
	for i, e := range d.Groups {
		g, err := e.toGroup(s, d.Version)
		if err != nil {
			return nil, fmt.Errorf("group %d: %w", i, err)
		}
		s.Groups = append(s.Groups, g)
	}
	return s, nil
}

// toGroup returns the group of an entry. s has the servers.
func (e groupEntry) toGroup(s *State, version int) (*Group, error) {
	invite, hosts, err := e.parseInvite()
	if err != nil {
		return nil, errors.New("invite")
	}
	g := &Group{Name: e.Name, Group: group.FromInvite(invite), Head: e.Head, Synced: e.SyncedPosition, Read: e.ReadPosition}
	if server, err := s.Server(invite.Server); err == nil && version == 1 {
		g.Synced, g.Read = server.version1Position(e.Synced), server.version1Position(e.Read)
	}
	if hosts != nil {
		if g.Serverless, err = e.toServerless(*hosts); err != nil {
			return nil, err
		}
		g.Printed.large = true
	}
	if err := g.Printed.decode(e.Printed); err != nil {
		return nil, errors.New("printed messages")
	}
	for _, n := range e.Names {
		if !g.Names.restoreName(n.Name, n.From) {
			return nil, errors.New("names")
		}
		if n.Nick != "" {
			g.Names.putNick(n.From, n.Nick)
		}
	}
	g.Unfinished = e.Unfinished
	return g, nil
}

// parseInvite parses the invite of either kind of group; hosts is nil for one server.
func (e groupEntry) parseInvite() (i bundle.Invite, hosts *bundle.HostList, err error) {
	if !bundle.IsHostInvite(e.Invite) {
		i, err = bundle.ParseInvite(e.Invite)
		return i, nil, err
	}
	h, err := bundle.ParseHostInvite(e.Invite)
	return h.Invite, &h.Hosts, err
}

func (e groupEntry) toServerless(l bundle.HostList) (*Serverless, error) {
	x := &Serverless{List: l, HeadTime: fromUnix(e.HeadTime), Checked: fromUnix(e.Checked)}
	if len(e.Manager) == 32 {
		key := identity.KeyFromSeed([32]byte(e.Manager))
		x.Manager = &key
	}
	for i, h := range e.Hosts {
		if i >= len(l.Hosts) || h.Board != l.Hosts[i].Board {
			return nil, errors.New("hosts")
		}
		x.Hosts = append(x.Hosts, h.toHost())
	}
	for _, h := range e.Left {
		x.Left = append(x.Left, h.toHost())
	}
	if len(x.Hosts) != len(l.Hosts) {
		return nil, errors.New("hosts")
	}
	return x, nil
}

func (e hostEntry) toHost() *Host {
	return &Host{
		Board: e.Board, Read: e.Read, Bridged: e.Bridged, Seen: fromUnix(e.Seen), Failed: fromUnix(e.Failed),
		Down: e.Down, Error: e.Error, Alone: e.Alone, Left: fromUnix(e.Left),
	}
}

func (h *Host) toEntry() hostEntry {
	return hostEntry{
		Board: h.Board, Read: h.Read, Bridged: h.Bridged, Seen: toUnix(h.Seen), Failed: toUnix(h.Failed),
		Down: h.Down, Error: h.Error, Alone: h.Alone, Left: toUnix(h.Left),
	}
}

// fromUnix is the inverse of toUnix.
func fromUnix(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

// toUnix returns Unix seconds, and 0 for the zero time.
func toUnix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// version1Position returns the position of version 1, which was a signature.
func (s *Server) version1Position(signature []byte) client.Position {
	switch {
	case len(signature) == 0:
		return nil
	case bytes.Equal(signature, s.Position.Last().Signature):
		return s.Position
	}
	return client.Position{{Signature: signature}}
}

func (s *State) toDocument() document {
	seed := s.Identity.Seed()
	d := document{Version: version, Identity: seed[:]}
	for _, server := range s.Servers {
		e := serverEntry{Bundle: server.Bundle.String(), Position: server.Position, Local: server.Local, Listed: server.Listed}
		e.History, _ = server.History.MarshalBinary() // never fails
		for _, t := range server.Tokens {
			e.Tokens = append(e.Tokens, append(t.T[:], t.W[:]...))
		}
		d.Servers = append(d.Servers, e)
	}
	for _, g := range s.Groups {
		e := groupEntry{
			Name: g.Name, Invite: g.InviteText(), Head: g.Head,
			SyncedPosition: g.Synced, ReadPosition: g.Read, Printed: g.Printed.encode(),
			Unfinished: g.Unfinished,
		}
		for _, m := range g.Names.Members() {
			e.Names = append(e.Names, nameEntry{m.Name, m.Onion, m.Nick})
		}
		if g.Serverless != nil {
			g.Serverless.toEntry(&e)
		}
		d.Groups = append(d.Groups, e)
	}
	return d
}

func (x *Serverless) toEntry(e *groupEntry) {
	e.HeadTime, e.Checked = toUnix(x.HeadTime), toUnix(x.Checked)
	if x.Manager != nil {
		seed := x.Manager.Seed()
		e.Manager = seed[:]
	}
	for _, h := range x.Hosts {
		e.Hosts = append(e.Hosts, h.toEntry())
	}
	for _, h := range x.Left {
		e.Left = append(e.Left, h.toEntry())
	}
}

// readPrivate reads a file that nobody else may read.
func readPrivate(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if err := ownership.CheckMode(path, info, 0o077); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// A command may have been killed before the file was durable. The token that it
	// took out must not come back, nor may the identity that it made get lost.
	if err := durable.Confirm(f); err != nil {
		return nil, fmt.Errorf("make %s durable: %w; check its disk", path, err)
	}
	return io.ReadAll(f)
}

// writeState replaces the file. The lock is held, so the name of the new file is
// free, or left over from a crash.
func writeState(path string, s *State) error {
	b, err := json.MarshalIndent(s.toDocument(), "", "\t")
	if err == nil {
		err = replaceFile(path, append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write profile: %w", err)
	}
	return nil
}

func replaceFile(path string, b []byte) error {
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(next, path); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}
