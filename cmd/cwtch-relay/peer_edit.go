package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v3"
	"github.com/zclconf/go-cty/cty"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/catalog"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

// defaultPeerSync is the plugin that peer add -yes gives a server without one.
const defaultPeerSync = "mesh"

// peerEdit is a change of the peers of a server in its configuration file.
type peerEdit struct {
	flags  *flags
	cfg    *loadedConfig
	draft  *config.Draft // of the file in which the server stands
	server config.Server
	// running: a relay runs with the file, and had nothing to reload before the change.
	running bool
	// byHand tells a person what to change, if this user may not write the file.
	byHand string
}

// peerChange is what a change prints as JSON.
type peerChange struct {
	Config string        `json:"config"`
	Server string        `json:"server"`
	Peer   string        `json:"peer"`
	Change string        `json:"change"`           // added, removed, paused or resumed
	Reload *manager.Plan `json:"reload,omitempty"` // absent if no relay runs
	// Board is the address of this server, and Block what the other side has to add to its
	// configuration, of a peer that was added.
	Board identity.Onion `json:"board,omitempty"`
	Block string         `json:"block,omitempty"`
}

// openDraft reads a configuration that a command is about to change.
func openDraft(ctx context.Context, path string) (*config.Draft, *loadedConfig, error) {
	programs, err := catalog.New(builtInPlugins(), pluginMode)
	if err != nil {
		return nil, nil, err
	}
	draft, cfg, err := config.OpenDraft(path, configPlugins(ctx, programs, true))
	if err != nil {
		return nil, nil, configFault{err}
	}
	return draft, &loadedConfig{cfg, path, programs}, nil
}

// beginEdit reads the file, and refuses to change it while the running relay has other changes
// to reload: they would take effect along with this one, and some delete data.
func beginEdit(ctx context.Context, f *flags, server string) (*peerEdit, error) {
	draft, cfg, err := openDraft(ctx, f.config)
	if err != nil {
		return nil, err
	}
	e := &peerEdit{flags: f, cfg: cfg, draft: draft, running: true}
	if e.server, err = pickServer(cfg.Config, server, f.nextCommand); err != nil {
		return nil, err
	}
	if e.server.Fault != nil {
		return nil, configFault{e.server.Fault}
	}
	if e.draft, err = draft.ForServer(e.server); err != nil {
		return nil, configFault{err}
	}
	plan, err := e.askReload(ctx, true)
	if errors.Is(err, manager.ErrNotRunning) {
		e.running = false
		return e, nil
	}
	if err != nil {
		return nil, err
	}
	waits := slices.ContainsFunc(plan.Steps, func(s manager.Step) bool { return s.Action != manager.ActionRetry })
	if waits || len(plan.Refused) > 0 {
		return nil, command.WithHint(fmt.Errorf("%s has other changes that the running relay has not reloaded, and was left as it is", f.config),
			"look at them with: "+f.nextCommand("reload", "-dry-run"))
	}
	return e, nil
}

func (e *peerEdit) askReload(ctx context.Context, dryRun bool) (*manager.Plan, error) {
	path, err := filepath.Abs(e.flags.config)
	if err != nil {
		return nil, err
	}
	return manager.AskReload(ctx, e.cfg.DataDir, path, dryRun)
}

// findPeer returns the named peer of the server.
func (e *peerEdit) findPeer(name string) (config.Peer, error) {
	var known []string
	for _, p := range e.server.Peers {
		if p.Name == name {
			return p, nil
		}
		known = append(known, p.Name)
	}
	return config.Peer{}, checkPeerName(e.server.Name, name, known)
}

// saveAndReload writes the file and has the running relay reload it. If the relay refuses, the
// file is as before.
func (e *peerEdit) saveAndReload(ctx context.Context, stderr io.Writer) (*manager.Plan, error) {
	path := e.draft.Path()
	err := e.draft.Save()
	switch {
	case errors.Is(err, config.ErrInvalidDraft):
		return nil, errors.New(path + " was left as it is: " + err.Error()) // its places are not in the file
	case err != nil:
		return nil, e.explainUnwritten(err)
	case !e.running:
		return nil, nil
	}
	plan, err := e.askReload(ctx, false)
	refused := errors.As(err, new(*manager.RefusedError)) || err == nil && len(plan.Refused) > 0
	if refused {
		if revertErr := e.draft.Revert(); revertErr != nil {
			return nil, errors.Join(err, revertErr)
		}
		fmt.Fprintf(stderr, "the relay refuses the change, and %s is as it was\n", path)
	}
	if err == nil && refused {
		err = planError(plan, e.flags.stderr)
	}
	if err != nil && !refused {
		err = command.WithHint(fmt.Errorf("%s was changed, but the relay has not said that it reloaded it: %w", path, err), "try: "+e.flags.nextCommand("reload"))
	}
	return plan, err
}

// explainUnwritten tells a user who may not write the file what to change by hand.
func (e *peerEdit) explainUnwritten(err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return command.WithHint(err, fmt.Sprintf("in a service, the user of the relay may not write the configuration. As root, %s. Then, as the user of the relay: %s",
		e.byHand, e.flags.nextCommand("reload")))
}

// finish writes the file and says what was done.
func (e *peerEdit) finish(ctx context.Context, c peerChange, stdout, stderr io.Writer) error {
	c.Config, c.Server = e.flags.config, e.server.Name
	var err error
	if c.Reload, err = e.saveAndReload(ctx, stderr); err != nil {
		if errors.Is(err, fs.ErrPermission) && !e.flags.JSON { // somebody else will write the file
			err = errors.Join(writeOtherSide(stdout, c), err)
		}
		return err
	}
	if e.flags.JSON {
		err = command.PrintJSON(stdout, c)
	} else {
		err = e.writeChange(stdout, c)
	}
	if err == nil && c.Reload != nil {
		err = planError(c.Reload, e.flags.stderr)
	}
	return err
}

func (e *peerEdit) writeChange(w io.Writer, c peerChange) error {
	fmt.Fprintf(w, "%s: peer %s of server %s was %s\n", e.draft.Path(), c.Peer, c.Server, c.Change)
	if c.Reload == nil {
		fmt.Fprintln(w, "no relay is running: this holds from its next start on")
	} else if err := writePlan(w, c.Config, c.Reload); err != nil {
		return err
	}
	return writeOtherSide(w, c)
}

// writeOtherSide says what the operator of the peer has to do after an addition.
func writeOtherSide(w io.Writer, c peerChange) error {
	if c.Block == "" {
		return nil
	}
	_, err := fmt.Fprintf(w, "\nThe other side has to list this server in turn, by a NAME of its choice. Its operator says\n\n  %s\n\nwith -yes if there is no peersync plugin yet, or adds this to the server there, and reloads:\n\n%s",
		pathname.Command("cwtch-relay", "peer", "add", "NAME", string(c.Board)+".onion", "-config", "server.hcl"), c.Block)
	return err
}

// addPeer adds a peer.
func addPeer(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	f, err := readFlags(c, stderr)
	if err != nil {
		return err
	}
	name, role, size := f.Args().First(), f.String("role"), f.String("bytes-per-day")
	address, err := config.ParseOnion(f.Args().Get(1))
	if err != nil {
		err = fmt.Errorf("it %w", err)
	}
	onion := identity.Onion(address)
	if err == nil {
		onion, err = identity.ParseOnion(address)
	}
	if err != nil {
		return command.WithHint(fmt.Errorf("the address of peer %s is not usable: %w", name, err), "copy the address of the board as the other relay shows it in its status")
	}
	e, err := beginEdit(ctx, f, f.String("server"))
	if err != nil {
		return err
	}
	board, err := e.ownBoard(ctx)
	if err != nil {
		return err
	}
	if err := e.checkNewPeer(name, onion, board); err != nil {
		return err
	}
	if err := e.requirePeerSync(f.Bool("yes")); err != nil {
		return err
	}
	settings := []config.Setting{{Name: "onion", Value: cty.StringVal(string(onion) + ".onion")}}
	if role != "" {
		settings = append(settings, config.Setting{Name: "role", Value: cty.StringVal(role)})
	}
	if f.IsSet("envelopes-per-hour") {
		settings = append(settings, config.Setting{Name: "envelopes_per_hour", Value: cty.NumberIntVal(f.Int64("envelopes-per-hour"))})
	}
	if size != "" {
		settings = append(settings, config.Setting{Name: "bytes_per_day", Value: cty.StringVal(size)})
	}
	peer := config.FormatBlock("peer", name, settings...)
	if err := e.draft.AddBlock(peer, "server", e.server.Name); err != nil {
		return err
	}
	if len(e.server.PeerSync) == 0 {
		peer = config.FormatBlock("peersync", defaultPeerSync) + peer
	}
	e.byHand = fmt.Sprintf("add to server %q in %s:\n%s", e.server.Name, e.draft.Path(), peer)
	block := fmt.Sprintf("  peer \"NAME\" {\n    onion = \"%s.onion\"\n  }\n", board)
	return e.finish(ctx, peerChange{Peer: name, Change: "added", Board: board, Block: block}, stdout, stderr)
}

// ownBoard returns the address of the board of the server.
func (e *peerEdit) ownBoard(ctx context.Context) (identity.Onion, error) {
	if e.server.Storage.Fault != nil {
		return "", e.server.Storage.Fault
	}
	if e.running {
		st, err := manager.AskStatus(ctx, e.cfg.DataDir)
		if err != nil {
			return "", err
		}
		for _, s := range st.Servers {
			if s.Name == e.server.Name && s.Relay != nil {
				return s.Relay.Board, nil
			}
		}
	}
	b, err := bundleOf(e.cfg.Config, e.server)
	return b.Board, err
}

// checkNewPeer refuses a peer that the server has already, and the server itself.
func (e *peerEdit) checkNewPeer(name string, onion, board identity.Onion) error {
	if onion == board {
		return command.WithHint(fmt.Errorf("%s.onion is the address of server %s itself", onion, e.server.Name), "give that of the board at the other relay")
	}
	for _, p := range e.server.Peers {
		if p.Name == name && p.Onion != string(onion) {
			return command.WithHint(fmt.Errorf("server %s has another peer %s already, with the address %s.onion (%s)", e.server.Name, p.Name, p.Onion, p.Range),
				"choose another name")
		}
		if p.Onion == string(onion) {
			return command.WithHint(fmt.Errorf("server %s has peer %s already, with the address %s.onion (%s)", e.server.Name, p.Name, p.Onion, p.Range),
				"to change its role or quotas, edit the file and reload")
		}
	}
	return nil
}

// requirePeerSync refuses a server without a peersync plugin, or adds one.
func (e *peerEdit) requirePeerSync(add bool) error {
	switch {
	case len(e.server.PeerSync) > 0:
		return nil
	case !add:
		return command.WithHint(fmt.Errorf("server %s has no peersync plugin, which keeps it in step with peers", e.server.Name),
			fmt.Sprintf("say -yes to add peersync %q {} too; the other side needs the same plugin", defaultPeerSync))
	}
	return e.draft.AddBlock(config.FormatBlock("peersync", defaultPeerSync), "server", e.server.Name)
}

// removePeer removes a peer.
func removePeer(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	return changePeer(ctx, c, stdout, stderr, func(e *peerEdit, p config.Peer) (change string, err error) {
		e.byHand = fmt.Sprintf("remove peer %q of server %q from %s", p.Name, e.server.Name, e.draft.Path())
		return "removed", e.draft.RemoveBlock("server", e.server.Name, "peer", p.Name)
	})
}

func pausePeer(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	return setPaused(ctx, c, stdout, stderr, true, "paused")
}

func resumePeer(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	return setPaused(ctx, c, stdout, stderr, false, "resumed")
}

func setPaused(ctx context.Context, c *cli.Command, stdout, stderr io.Writer, paused bool, change string) error {
	return changePeer(ctx, c, stdout, stderr, func(e *peerEdit, p config.Peer) (string, error) {
		if p.Paused == paused {
			return change, nil // again
		}
		e.byHand = fmt.Sprintf("write paused = %t in peer %q of server %q in %s", paused, p.Name, e.server.Name, e.draft.Path())
		return change, e.draft.SetAttribute("paused", cty.BoolVal(paused), "server", e.server.Name, "peer", p.Name)
	})
}

// changePeer changes a peer that is there.
func changePeer(ctx context.Context, c *cli.Command, stdout, stderr io.Writer, edit func(*peerEdit, config.Peer) (change string, err error)) error {
	f, err := readFlags(c, stderr)
	if err != nil {
		return err
	}
	e, err := beginEdit(ctx, f, f.String("server"))
	if err != nil {
		return err
	}
	p, err := e.findPeer(f.Args().First())
	if err != nil {
		return err
	}
	change := peerChange{Peer: p.Name}
	if change.Change, err = edit(e, p); err != nil {
		return err
	}
	return e.finish(ctx, change, stdout, stderr)
}
