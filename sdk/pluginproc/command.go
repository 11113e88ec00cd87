package pluginproc

import (
	"log/slog"
	"os"
	"syscall"
	"time"
)

// Command says what to start.
type Command struct {
	Path string   // absolute
	Args []string // after the name
	// Env is the whole environment, besides what the handshake needs; that of
	// the host is not passed on.
	Env []string
	// File, when not nil, is the open file that is executed, whatever Path
	// names by then (Linux only). Start closes it.
	File *os.File
	// Launcher, when not nil, is executed in place of the plugin, and executes
	// the plugin itself.
	Launcher *Launcher
}

// Launcher is a program that prepares the process of a plugin before the first
// instruction of the plugin, and has to execute it in that process. It gets the
// plugin's environment and descriptors: 0 to 2 as every plugin has them, then as
// many listeners as LISTEN_FDS says, the lifeline, the open file of the plugin, if
// there is one, and its own open file, if there is one, which the plugin should
// not get. Its arguments are Args, "--", and then the Path and the Args of the
// plugin. Where there are listeners it sets LISTEN_PID.
type Launcher struct {
	Path string // absolute
	Args []string
	// File, when not nil, is the open file that is executed. Start closes it.
	File *os.File
	// Sys, when not nil, has more attributes of the process, such as namespaces.
	Sys *syscall.SysProcAttr
}

// StartConfig says how to start it.
type StartConfig struct {
	Command
	// SocketDir is an existing directory that only this user can enter. When it
	// is empty, or its path too long for a socket or not one that a plugin can name,
	// a private one is made below os.TempDir.
	SocketDir string
	// Listeners are passed on to the plugin. They stay the caller's.
	Listeners []Listener
	// Logger takes the log of the plugin.
	Logger *slog.Logger
	// Timeout bounds the start; 0 is [host.StartTimeout].
	Timeout time.Duration
	// Offered, where set, is what the plugin is told of the versions of the framing,
	// with commas between. It is for a test of how the plugin chooses.
	Offered string
	// Tracer, where set, is told of every call.
	Tracer Tracer
}

func (c Command) closeFiles() {
	if c.File != nil {
		c.File.Close()
	}
	if c.Launcher != nil && c.Launcher.File != nil {
		c.Launcher.File.Close()
	}
}
