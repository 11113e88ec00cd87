package protocoltest

import "time"

// A mutant does at once what it must not, and nobody has to wait long for it.
func init() { lingers = 250 * time.Millisecond }
