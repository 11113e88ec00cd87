package onion

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/core/onion/internal/torproc"
	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
)

// sandboxPolicy returns what a tor of ours may do. Tor parses what strangers send, so
// it gets the network, its own directory and the files that its configuration names,
// and nothing else of this user: no keys of servers, no envelopes. It starts
// programs only if its configuration says so, or if it is itself a script.
func (s *childSource) sandboxPolicy() (*sandbox.Policy, error) {
	path, err := exec.LookPath(s.path)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return nil, err
	}
	script, err := isScript(path)
	if err != nil {
		return nil, err
	}
	read, write, transports := namedPaths(s.extra)
	return &sandbox.Policy{
		Dir:       s.dir.path,
		Read:      append(read, "/proc/meminfo"),        // tor sizes its queues by it
		Write:     append(write, string(s.dir.sockets)), // those of the services too
		Network:   sandbox.Open,
		Modes:     true, // of its own sockets
		Processes: script || transports,
		Memory:    sandbox.NoLimit,
		Files:     sandbox.NoFileLimit,
	}, nil
}

// isScript reports whether a program is a script, which another program runs.
func isScript(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var magic [2]byte
	if _, err := io.ReadFull(f, magic[:]); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, fmt.Errorf("read %s: %w", path, err)
	}
	return string(magic[:]) == "#!", nil
}

// writtenDirOptions are the options that name a directory in which tor writes.
var writtenDirOptions = []string{"CacheDirectory", "KeyDirectory", "HiddenServiceDir", "ClientOnionAuthDir"}

// namedPaths finds the absolute paths in the operator's lines that exist, and whether
// tor should start pluggable transports.
func namedPaths(torrc []string) (read, write []string, transports bool) {
	for _, line := range torrc {
		option, value, _ := strings.Cut(line, " ")
		if torproc.Abbreviates(option, "ClientTransportPlugin", "ServerTransportPlugin") {
			transports = true
		}
		paths := &read
		if torproc.Abbreviates(option, writtenDirOptions...) {
			paths = &write
		}
		// A value with spaces is one path if it is in quotes.
		value = strings.TrimSpace(stripComment(value))
		words := append(strings.Fields(value), value)
		if quoted, _, err := unquote(value); err == nil {
			words = []string{quoted}
		}
		for _, word := range words {
			if _, err := os.Stat(word); filepath.IsAbs(word) && err == nil && !slices.Contains(*paths, word) {
				*paths = append(*paths, word)
			}
		}
	}
	return read, write, transports
}
