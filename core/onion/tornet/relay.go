package tornet

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/core/onion/internal/torproc"
)

// relay is one tor process of the network.
type relay struct {
	name    string
	dir     string
	process *torproc.Process
}

// startRelay starts relay number i in its own directory.
func (n *Network) startRelay(tor string, i int) (*relay, error) {
	r := &relay{name: fmt.Sprintf("relay%d", i)}
	r.dir = filepath.Join(n.dir, r.name)
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, err
	}
	lines := n.relayTorrc(r.dir, r.name)
	if err := torproc.CheckLoopback(lines); err != nil {
		return nil, err
	}
	torrc := filepath.Join(r.dir, "torrc")
	if err := os.WriteFile(torrc, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(r.logFile())
	if err != nil {
		return nil, err
	}
	defer log.Close() // tor has its own copy
	r.process, err = torproc.Start(tor, []string{"--defaults-torrc", n.emptyFile(), "-f", torrc}, nil, log)
	return r, err
}

func (r *relay) logFile() string { return filepath.Join(r.dir, "tor.log") }

// hasDirectory reports whether the relay has stored the consensus and the whole
// directory. A client that asks earlier gets a 404 and backs off for longer than the
// rest of the start takes.
func (r *relay) hasDirectory() bool {
	for _, name := range []string{"cached-consensus", "cached-microdesc-consensus", "cached-microdescs.new"} {
		if info, err := os.Stat(filepath.Join(r.dir, "data", name)); err != nil || info.Size() == 0 {
			return false
		}
	}
	return true
}

// checkRunning returns an error that says how the relay ended, or nil while it runs.
func (r *relay) checkRunning() error {
	select {
	case <-r.process.Done():
		how := "exit status 0"
		if err := r.process.Err(); err != nil {
			how = err.Error()
		}
		return fmt.Errorf("%s ended early (%s); the end of %s:\n%s", r.name, how, r.logFile(), r.logTail())
	default:
		return nil
	}
}

// logTail returns the last lines that tor printed.
func (r *relay) logTail() string {
	const lines = 12
	text, err := os.ReadFile(r.logFile())
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
