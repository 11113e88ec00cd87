package host

import (
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
)

// How long a plugin may take, under a relay, an operator's command or a test.
// docs/plugin-protocol.md has the same numbers for authors.
const (
	StartTimeout     = 10 * time.Second // until the handshake
	DescribeTimeout  = 5 * time.Second  // Describe and Validate, which only compute
	ConfigureTimeout = time.Minute
	OpenTimeout      = 15 * time.Minute // Configure of a store, which may have to take over the files of an earlier release
	HealthTimeout    = 10 * time.Second
	HangTimeout      = 30 * time.Second // while no call of one method is answered
	EndTimeout       = 10 * time.Second // Drain, Shutdown and the end of the process together
)

// How long a call of a kind may take if its context has no deadline.
const (
	InfoTimeout   = 5 * time.Second
	CallTimeout   = 30 * time.Second // calls of a store
	StepTimeout   = 2 * time.Minute  // Compact and Check, which move and read much
	ExportTimeout = 10 * time.Second // Export and ForceFlush
	HandleTimeout = 2 * time.Minute  // a replicator cuts longer work into pieces
)

// Sizes, in bytes.
const (
	MaxMessage       = rpc.MaxMessage // a request
	MaxAnswer        = 1 << 20        // an answer
	MaxShortAnswer   = 8 << 10        // an answer of a few numbers
	MaxHeaders       = 64 << 10
	MaxHandshakeLine = 16 << 10
)
