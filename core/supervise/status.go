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
	Degraded                 // it answers calls, and says that something is wrong
	Draining                 // it was told to end
	Backoff                  // it ended, and is started again after a while
	Failed                   // it ended, and is not started again before Reconfigure
	Stopped                  // it ended as it was told
)

var stateNames = [...]string{"starting", "configuring", "ready", "degraded", "draining", "backoff", "failed", "stopped"}

func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return fmt.Sprintf("state %d", int(s))
	}
	return stateNames[s]
}

// Serving reports whether a plugin in this state answers calls.
func (s State) Serving() bool { return s == Ready || s == Degraded }

// MarshalText returns the name of the state.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the name of a state.
func (s *State) UnmarshalText(text []byte) error {
	i := slices.Index(stateNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("unknown plugin state %.20q", text)
	}
	*s = State(i)
	return nil
}

// Status describes a plugin at one moment, for the operator.
type Status struct {
	Kind         plugin.Kind         `json:"kind"`
	Name         string              `json:"name"`
	Version      string              `json:"version,omitempty"`      // once the plugin has said it
	Protocol     int                 `json:"protocol,omitempty"`     // the framing's major version, of a process
	Capabilities []plugin.Capability `json:"capabilities,omitempty"` // once the plugin has said them
	Checksum     string              `json:"checksum,omitempty"`     // of an external binary
	Attached     bool                `json:"attached,omitempty"`     // somebody started it by hand
	Sandbox      Sandbox             `json:"sandbox"`
	State        State               `json:"state"`
	Since        time.Time           `json:"since"`            // of the state
	Reason       string              `json:"reason,omitempty"` // why it is Degraded or Failed
	PID          int                 `json:"pid,omitempty"`    // 0: no process
	Memory       int64               `json:"memory,omitempty"` // private to the process, in bytes; 0 if unknown
	Incarnation  int                 `json:"incarnation"`      // counts from 1
	Restarts     int                 `json:"restarts"`         // incarnations that ended unasked
	LastError    string              `json:"last_error,omitempty"`
	LastErrorAt  *time.Time          `json:"last_error_at,omitempty"`
}

// Sandbox says how a plugin is confined.
type Sandbox struct {
	On      bool     `json:"on"`
	Missing []string `json:"missing,omitempty"` // what this kernel cannot enforce; sentences
}

func (s *Status) setError(err error) {
	now := time.Now()
	s.LastError, s.LastErrorAt = err.Error(), &now
}
