package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/cmd/internal/suggest"
)

// findGroup finds a group by its name; the hint of its error says which was
// probably meant.
func findGroup(s *profile.State, name string) (*profile.Group, error) {
	g, err := s.FindGroup(name)
	if err != nil {
		var known []string
		for _, x := range s.Groups {
			known = append(known, x.Name)
		}
		return nil, hinted{err, suggest.Name("", name, known) + "cwtch-group list prints the names of your groups"}
	}
	return g, nil
}

// openProfile opens the profile that the options name. Nobody means to begin a
// new identity by a slip in a name, so only the default one is made at its first
// use.
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
		return nil, hinted{err, suggestProfile(dir) + "To make a new one: cwtch-group init -profile " + shellWord(dir)}
	case errors.Is(err, profile.ErrLost):
		return nil, hinted{err, "restore it from a backup; cwtch-group init makes a new identity there"}
	}
	return p, err
}

func (a *app) makeDefaultProfile(ctx context.Context, dir string) (*profile.Profile, error) {
	p, err := profile.Create(ctx, dir)
	if errors.Is(err, profile.ErrExists) {
		return profile.Open(dir) // another command was first
	}
	if err == nil {
		a.progress.Note("made profile %s", dir)
	}
	return p, err
}

// maxSiblings bounds the directories that are looked at for a profile of a
// similar name.
const maxSiblings = 1000

// suggestProfile says which profile beside dir was probably meant.
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

// shellWord quotes a word for a shell where it has to be.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:,+@%", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
