package plugin

import (
	"fmt"
	"runtime"
	"strings"
)

// callStack returns the functions on the caller's stack and their places. Unlike
// [runtime/debug.Stack] it shows no arguments, which are values from memory.
func callStack() string {
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
