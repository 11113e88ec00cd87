package profile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/sdk/filelock"
)

// botVersion is the format of the file of a bot.
const botVersion = 1

// ErrBotRuns means that another process is the bot of the group for this profile.
var ErrBotRuns = errors.New("another bot of this profile serves the group")

// Bot is what the bot of a group keeps, besides the positions in the profile.
type Bot struct {
	// Announced is the serial of the list of hosts that it announced last, and
	// AnnouncedAt when.
	Announced   uint64
	AnnouncedAt time.Time
	// Had has, for each host, the messages that the host had, the last few thousand. A
	// message that a host has removed is not brought to it again.
	Had map[identity.Onion]*Printed

	path string
}

type botDocument struct {
	Version     int
	Announced   uint64
	AnnouncedAt int64 // Unix seconds
	Had         map[identity.Onion][]byte
}

// OpenBot makes the caller the bot of a group, until it calls release.
func (p *Profile) OpenBot(group [16]byte) (b *Bot, release func(), err error) {
	name := filepath.Join(p.dir, fmt.Sprintf("bot-%x", group))
	lock, err := filelock.Open(name + ".lock")
	switch {
	case errors.Is(err, filelock.ErrLocked):
		return nil, nil, ErrBotRuns
	case err != nil:
		return nil, nil, fmt.Errorf("lock bot: %w", err)
	}
	b, err = loadBot(name + ".json")
	if err != nil {
		lock.Close()
		return nil, nil, fmt.Errorf("read bot: %w", err)
	}
	return b, func() { lock.Close() }, nil
}

func loadBot(path string) (*Bot, error) {
	b := &Bot{Had: make(map[identity.Onion]*Printed), path: path}
	text, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	var d botDocument
	if json.Unmarshal(text, &d) != nil || d.Version < 1 {
		return nil, fmt.Errorf("%s is damaged; without it the bot begins anew", path)
	}
	if d.Version > botVersion {
		return nil, fmt.Errorf("%s has format %d, and this program knows formats up to %d; use the newer program that wrote it", path, d.Version, botVersion)
	}
	b.Announced, b.AnnouncedAt = d.Announced, fromUnix(d.AnnouncedAt)
	for board, had := range d.Had {
		if err := b.HadBy(board).decode(had); err != nil {
			return nil, fmt.Errorf("%s is damaged; without it the bot begins anew", path)
		}
	}
	return b, nil
}

// HadBy returns the messages that a host had.
func (b *Bot) HadBy(board identity.Onion) *Printed {
	if b.Had[board] == nil {
		b.Had[board] = &Printed{large: true}
	}
	return b.Had[board]
}

// Save keeps what the bot knows. Hosts that are not in the group any more are forgotten.
func (b *Bot) Save(hosts []identity.Onion) error {
	d := botDocument{Version: botVersion, Announced: b.Announced, AnnouncedAt: toUnix(b.AnnouncedAt), Had: make(map[identity.Onion][]byte)}
	for _, board := range hosts {
		d.Had[board] = b.HadBy(board).encode()
	}
	text, err := json.Marshal(d)
	if err == nil {
		err = replaceFile(b.path, text)
	}
	if err != nil {
		return fmt.Errorf("save bot: %w", err)
	}
	return nil
}
