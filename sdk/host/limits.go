package host

import (
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
)

// How long a plugin may take, whoever starts it: a relay, "cwtch-relay plugin
// describe" and "cwtch-plugin test", or a test in Go. docs/plugin-protocol.md tells authors.
const (
	StartTimeout     = 10 * time.Second // until it has shaken hands
	DescribeTimeout  = 5 * time.Second  // Describe and Validate, which a plugin knows by heart
	ConfigureTimeout = time.Minute
	HealthTimeout    = 10 * time.Second
	HangTimeout      = 30 * time.Second // calls of one method going unanswered
	EndTimeout       = 10 * time.Second // Drain, Shutdown and the end of the process together
)

// How long a call of a kind waits for its answer when its context sets no deadline.
const (
	InfoTimeout   = 5 * time.Second
	CallTimeout   = 30 * time.Second // calls of a store
	ExportTimeout = 10 * time.Second // Export and ForceFlush
	HandleTimeout = 5 * time.Minute  // it may have to look through a whole log
)

// Sizes, in bytes.
const (
	MaxMessage       = rpc.MaxMessage // a request
	MaxAnswer        = 1 << 20        // an answer
	MaxShortAnswer   = 8 << 10        // an answer that is a few numbers
	MaxHeaders       = 64 << 10
	MaxHandshakeLine = 16 << 10
)
