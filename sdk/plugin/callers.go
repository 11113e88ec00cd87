package plugin

import (
	"fmt"
	"runtime"
	"strings"
)

// callerStack is the stack of the caller: names of functions and where they are. It
// has no arguments, unlike [runtime/debug.Stack], since they are values from memory.
func callerStack() string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	var out strings.Builder
	for {
		f, more := frames.Next()
		fmt.Fprintf(&out, "%s %s:%d\n", f.Function, f.File, f.Line)
		if !more {
			return out.String()
		}
	}
}
