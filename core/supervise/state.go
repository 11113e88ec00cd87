package supervise

import (
	"fmt"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// State is what a supervised plugin is doing.
type State int

const (
	Starting    State = iota // its process is being started
	Configuring              // it opens its implementation
	Ready                    // it answers calls
	Backoff                  // it ended, and is started again after a while
	Draining                 // it was told to end
	Stopped                  // it has ended as it was told
	Failed                   // it could not be started, and will not be by itself
)

var stateNames = [...]string{"starting", "configuring", "ready", "backoff", "draining", "stopped", "failed"}

func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return fmt.Sprintf("state %d", int(s))
	}
	return stateNames[s]
}

// MarshalText gives the name of the state.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// ended: no call can succeed in this state or after it.
func (s State) ended() bool { return s == Draining || s == Stopped || s == Failed }

// Status is a plugin at one moment, for the operator.
type Status struct {
	Kind        plugin.Kind `json:"kind"`
	Name        string      `json:"name"`
	Version     string      `json:"version,omitempty"`  // once the plugin has told it
	Checksum    string      `json:"checksum,omitempty"` // of an external binary
	State       State       `json:"state"`
	Since       time.Time   `json:"since"`            // of the state
	Reason      string      `json:"reason,omitempty"` // what a ready plugin says is not well with it
	PID         int         `json:"pid,omitempty"`    // 0: no process
	Incarnation int         `json:"incarnation"`      // counts from 1
	Restarts    int         `json:"restarts"`         // incarnations that ended unasked
	LastError   string      `json:"last_error,omitempty"`
	LastErrorAt *time.Time  `json:"last_error_at,omitempty"`
}

// UnmarshalText reads what MarshalText gives.
func (s *State) UnmarshalText(text []byte) error {
	i := slices.Index(stateNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("unknown plugin state %.20q", text)
	}
	*s = State(i)
	return nil
}
