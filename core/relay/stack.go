package relay

import (
	"fmt"
	"runtime"
	"strings"
)

// callerStack returns the stack of the caller: functions and their lines. Unlike
// [runtime/debug.Stack] it leaves out arguments, which are values from memory.
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
