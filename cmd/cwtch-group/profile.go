package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
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
	s, err := p.View(ctx)
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
