package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/catalog"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

// filesTimeout bounds a change of a file: external plugins are asked about their blocks.
const filesTimeout = 2 * time.Minute

// serverFiles changes the configuration at a path for the manager.
type serverFiles string

// Add implements [manager.ServerFiles].
func (f serverFiles) Add(n manager.NewServer) error {
	return f.changeFiles(func(files *config.ServerFiles) error {
		return files.Add(config.ServerText{
			Name: n.Name, Description: n.Description, Autostart: n.Autostart,
			Storage: n.Storage, MaxAge: n.MaxAge, MaxBytes: n.MaxBytes,
		})
	})
}

// Edit implements [manager.ServerFiles].
func (f serverFiles) Edit(name string, c manager.ServerChange) (undo func() error, err error) {
	err = f.changeFiles(func(files *config.ServerFiles) (err error) {
		undo, err = files.Edit(name, config.ServerChange(c))
		return err
	})
	return undo, err
}

// Remove implements [manager.ServerFiles].
func (f serverFiles) Remove(name string) error {
	return f.changeFiles(func(files *config.ServerFiles) error { return files.Remove(name) })
}

// CheckRemoval implements [manager.ServerFiles].
func (f serverFiles) CheckRemoval(name string) error {
	return f.changeFiles(func(files *config.ServerFiles) error { return files.CheckRemoval(name) })
}

// Describe implements [manager.ServerFiles].
func (f serverFiles) Describe(name, file string) (manager.ServerText, error) {
	s, err := config.ReadServer(string(f), file, name)
	return manager.ServerText{Description: s.Description, Autostart: s.Autostart, Storage: s.Storage, MaxAge: s.MaxAge, MaxBytes: s.MaxBytes}, err
}

// changeFiles makes a change with the plugins as they are now. It returns the errors that the
// manager knows.
func (f serverFiles) changeFiles(change func(*config.ServerFiles) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), filesTimeout)
	defer cancel()
	programs, err := catalog.New(builtInPlugins(), pluginMode)
	if err != nil {
		return err
	}
	files, err := config.OpenServerFiles(string(f), configPlugins(ctx, programs, true))
	if err == nil {
		err = change(files)
	}
	field, isField := errors.AsType[*config.FieldError](err)
	switch {
	case errors.Is(err, fs.ErrExist):
		return err
	case errors.Is(err, config.ErrUnknownServer):
		return fmt.Errorf("%w in the configuration", manager.ErrNoSuchServer)
	case isField:
		return &manager.FieldError{Field: field.Field, Text: field.Text}
	}
	return err
}
