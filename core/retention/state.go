package retention

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// state is what a keeper remembers when the relay ends.
type state struct {
	Clock Clock `json:"clock"`
	// Undecided reports whether nobody has said yet how long the server keeps messages,
	// although it had some before it had a state.
	Undecided bool `json:"undecided,omitempty"`
	// Removed is the hour of the oldest removal that no compaction has followed; 0: none.
	Removed storage.Hour `json:"removed,omitempty"`
	// Compacting reports whether a compaction has begun and not ended. Clearing is what
	// Removed was when it began: what is removed while it runs may stay in the new files.
	Compacting bool         `json:"compacting,omitempty"`
	Clearing   storage.Hour `json:"clearing,omitempty"`
}

// oldestRemoval returns the hour of the oldest removal that no compaction has cleared; 0: none.
func (s state) oldestRemoval() storage.Hour { return cmp.Or(s.Clearing, s.Removed) }

// beginCompaction notes that a compaction begins, or goes on.
func (s *state) beginCompaction() {
	if !s.Compacting {
		s.Clearing, s.Removed, s.Compacting = s.Removed, 0, true
	}
}

// endCompaction notes that a compaction has ended and whether it has cleared what was removed
// before it.
func (s *state) endCompaction(cleared bool) {
	if !cleared {
		s.Removed = s.oldestRemoval()
	}
	s.Clearing, s.Compacting = 0, false
}

// stateName is the file of the state, beside the keys, where no plugin can write.
const stateName = "retention"

// loadState reads the state in a directory. There may be none.
func loadState(dir string) (s state, found bool, err error) {
	data, err := os.ReadFile(filepath.Join(dir, stateName))
	if errors.Is(err, fs.ErrNotExist) {
		return s, false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return state{}, false, fmt.Errorf("read %s: %w", filepath.Join(dir, stateName), err)
	}
	return s, true, nil
}

func (s state) save(dir string) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, stateName), data, 0o600)
}

// saveState saves the state if it has changed since it was saved.
func (k *Keeper) saveState() error {
	if k.state == k.saved {
		return nil
	}
	if err := k.state.save(k.cfg.Dir); err != nil {
		return fmt.Errorf("save what the retention has to remember: %w", err)
	}
	k.saved = k.state
	return nil
}
