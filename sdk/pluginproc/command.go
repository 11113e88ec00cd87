package pluginproc

import (
	"log/slog"
	"os"
	"syscall"
	"time"
)

// Command is the program of a plugin.
type Command struct {
	Path string   // absolute
	Args []string // after the name
	// Env is the whole environment, except for the variables of the handshake. The relay's
	// own environment is not passed on.
	Env []string
	// File, when not nil, is the open file to execute, even if Path names another one by
	// then. Start closes it.
	File *os.File
	// Launcher, when not nil, is executed first and then executes the plugin.
	Launcher *Launcher
}

// Launcher is a program that prepares a process and then executes the plugin in it, so
// that not even the plugin's first instruction runs unprepared.
//
// Its arguments are Args, "--", and the Path and Args of the plugin. It gets the plugin's
// environment and descriptors: 0 to 2 as every plugin has them, then as many listeners as
// LISTEN_FDS says, the lifeline, Command.File if set, and its own File if set. It must
// not pass the last one on. If there are listeners, it sets LISTEN_PID.
type Launcher struct {
	Path string // absolute
	Args []string
	// File, when not nil, is the open file to execute. Start closes it.
	File *os.File
	// Sys, when not nil, has further attributes of the process, such as namespaces.
	Sys *syscall.SysProcAttr
}

// StartConfig says what to start and how.
type StartConfig struct {
	Command
	// SocketDir is an existing directory that only this user can enter. If it is empty,
	// or its path too long for a socket or impossible to write in a handshake line, Start
	// makes a private directory below os.TempDir.
	SocketDir string
	// Listeners are passed on to the plugin. The caller still closes them.
	Listeners []Listener
	// Logger receives the log of the plugin.
	Logger *slog.Logger
	// Timeout bounds the start; 0 is [host.StartTimeout].
	Timeout time.Duration
	// OfferedVersions, when set, replaces the versions of the framing that the plugin is
	// offered, separated by commas. Tests use it to see how a plugin chooses.
	OfferedVersions string
	// Tracer, when not nil, receives a line for every call.
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
