package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

// offlineServers are the servers of a configuration while no relay runs.
type offlineServers struct {
	manager.Offline
	loaded *loadedConfig
}

func openOffline(ctx context.Context, path string) (*offlineServers, error) {
	cfg, err := loadTolerant(ctx, path)
	if err != nil {
		return nil, err
	}
	mc, err := cfg.managerConfig(slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	mc.Load = func(ctx context.Context) (manager.Config, error) {
		cfg, err := loadTolerant(ctx, path)
		if err != nil {
			return manager.Config{}, err
		}
		return cfg.managerConfig(mc.Logger)
	}
	return &offlineServers{manager.Offline{Config: mc}, cfg}, nil
}

// listServers lists the servers, and counts what their files take.
func (o *offlineServers) listServers() serverList {
	list := serverList{Servers: []listedServer{}}
	for _, s := range o.ListServers() {
		l := newListedServer(s)
		if size, err := sizeOfFiles(manager.StorageDir(o.serverDir(s.Name))); err == nil {
			l.Bytes = &size
		}
		list.Servers = append(list.Servers, l)
	}
	return list
}

func (o *offlineServers) serverDir(name string) string {
	return filepath.Join(o.loaded.DataDir, "servers", name)
}

// loadKeys loads the keys of a server. passphrase is nil if they are not protected.
func (o *offlineServers) loadKeys(name string, passphrase []byte) (*identity.Server, error) {
	path := filepath.Join(o.serverDir(name), "keys")
	if passphrase == nil {
		return identity.Load(path)
	}
	return identity.Unlock(path, passphrase)
}

// countStored asks the store of a server for the number of its messages, if it can be opened
// without changing it.
func (o *offlineServers) countStored(ctx context.Context, s *listedServer, stderr io.Writer) error {
	server, err := pickServer(o.loaded.Config, s.Name, relayCommand)
	if err != nil {
		return err
	}
	if server.Storage.Fault != nil {
		return nil // nobody knows which store it has
	}
	store := &openedStore{role: "count", server: server, inspect: true}
	if store.checkPresent() != nil {
		s.Messages = new(uint64)
		return nil
	}
	if able, err := o.loaded.canInspect(ctx, store); err != nil || !able {
		return err
	}
	if err := o.loaded.openStore(ctx, store, o.loaded.newStoreLogger(stderr)); err != nil {
		return errors.Join(err, o.loaded.closeStores(store))
	}
	info, err := store.store.Storage().Info(ctx)
	if err == nil {
		s.Messages, s.Bytes = &info.Count, &info.Bytes
	}
	return errors.Join(err, o.loaded.closeStores(store))
}

// changeOffline makes a change while no relay can start.
func (f *serverFlags) changeOffline(ctx context.Context, change func(*offlineServers) error) error {
	o, err := openOffline(ctx, f.config)
	if err != nil {
		return err
	}
	release, err := o.loaded.claimDataDir("change")
	if err != nil {
		return err
	}
	defer release()
	return change(o)
}

// addOffline adds a server that starts with the next relay.
func (f *serverFlags) addOffline(ctx context.Context, n manager.NewServer, stdout io.Writer) error {
	c := serverChange{Change: "added"}
	err := f.changeOffline(ctx, func(o *offlineServers) error {
		if err := o.AddServer(n); err != nil {
			return err
		}
		keys, err := o.loadKeys(n.Name, n.Passphrase)
		if err != nil {
			return err
		}
		b, err := signBundle(keys)
		c.Address, c.Bundle = onionAddress(b.Board), b.String()
		return err
	})
	if err != nil {
		return f.explainRefusal(err)
	}
	said := "was added, and starts with the relay"
	if !n.Autostart {
		said = "was added; it does not start with the relay"
	}
	return f.printChange(c, said, stdout)
}

// editOffline changes the file of a server, which the next relay reads.
func (f *serverFlags) editOffline(ctx context.Context, sc manager.ServerChange, stdout io.Writer) error {
	changed := false
	err := f.changeOffline(ctx, func(o *offlineServers) (err error) {
		changed, err = o.EditServer(ctx, f.name, sc)
		return err
	})
	switch {
	case err != nil:
		return f.explainRefusal(err)
	case !changed:
		return f.printChange(serverChange{Change: changeNothing}, "is like that already: nothing was changed", stdout)
	}
	return f.printChange(serverChange{Change: "edited"}, "was changed; this holds from the next start of the relay on", stdout)
}

func (f *serverFlags) changePassphraseOffline(ctx context.Context, old, new []byte) error {
	return f.changeOffline(ctx, func(o *offlineServers) error {
		err := o.ChangePassphrase(f.name, old, new)
		if errors.Is(err, os.ErrNotExist) {
			return errors.New("the server has no keys yet: start the relay once, which makes them")
		}
		return err
	})
}

func (f *serverFlags) deleteOffline(ctx context.Context, passphrase []byte) error {
	return f.changeOffline(ctx, func(o *offlineServers) error { return o.DeleteServer(f.name, passphrase) })
}
