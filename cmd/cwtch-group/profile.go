package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/cmd/internal/suggest"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

func (a *app) runInit(ctx context.Context, _ []string) error {
	dir, err := a.profileDir()
	if err != nil {
		return err
	}
	p, err := profile.Create(ctx, dir)
	if err != nil {
		return err
	}
	s, err := p.View()
	if err != nil {
		return err
	}
	return a.printFact(struct {
		Profile string         `json:"profile"`
		You     identity.Onion `json:"you"`
	}{dir, s.Identity.Onion()}, "made profile %s\nyou     %s", printableText(dir), s.Identity.Onion())
}

// profileDir returns the directory that the options name, or the default one.
func (a *app) profileDir() (string, error) {
	if a.options.profile != "" {
		return a.options.profile, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", hinted{fmt.Errorf("find profile: %w", err), "choose where to keep it with -profile DIR"}
	}
	return filepath.Join(dir, "cwtch-group"), nil
}

// openProfile opens the profile that the options name. It makes the default one at its
// first use, but no other: a typing mistake must not make a new identity.
func (a *app) openProfile(ctx context.Context) (*profile.Profile, error) {
	dir, err := a.profileDir()
	if err != nil {
		return nil, err
	}
	p, err := profile.Open(dir)
	switch byDefault := a.options.profile == ""; {
	case errors.Is(err, profile.ErrNoProfile) && byDefault:
		return a.makeDefaultProfile(ctx, dir)
	case errors.Is(err, profile.ErrNoProfile):
		return nil, hinted{err, suggestProfile(dir) + "To make a new one: " + pathname.Command("cwtch-group", "init", "-profile", dir)}
	case errors.Is(err, profile.ErrLost):
		return nil, hinted{err, "restore it from a backup; cwtch-group init makes a new identity there"}
	}
	return p, err
}

func (a *app) makeDefaultProfile(ctx context.Context, dir string) (*profile.Profile, error) {
	p, err := profile.Create(ctx, dir)
	if errors.Is(err, profile.ErrExists) {
		return profile.Open(dir) // another command made it first
	}
	if err == nil {
		a.progress.Note("made profile %s", dir)
	}
	return p, err
}

// maxSiblings bounds the directories in which suggestProfile looks for a profile.
const maxSiblings = 1000

// suggestProfile suggests a profile beside dir with a similar name.
func suggestProfile(dir string) string {
	above, err := os.Open(filepath.Dir(dir))
	if err != nil {
		return ""
	}
	defer above.Close()
	names, _ := above.Readdirnames(maxSiblings)
	var known []string
	for _, name := range names {
		if _, err := profile.Open(filepath.Join(filepath.Dir(dir), name)); err == nil {
			known = append(known, name)
		}
	}
	return suggest.Name("", filepath.Base(dir), known)
}
