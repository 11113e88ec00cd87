package protocoltest

import "time"

// The faulty plugins of the tests misbehave at once, so the checks need not observe them for long.
func init() { observeTime = 250 * time.Millisecond }
