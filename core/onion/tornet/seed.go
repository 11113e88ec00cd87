package tornet

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Seed writes the directory of the network into the data directory of a tor that
// will join it and does not run yet; dataDir is created if need be. That tor
// downloads nothing and is ready about a second and a half sooner.
func (n *Network) Seed(dataDir string) error {
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return fmt.Errorf("seed data directory of tor: %w", err)
	}
	consensus, err := n.authority.currentConsensus(microdesc)
	if err != nil {
		return fmt.Errorf("seed data directory of tor: %w", err)
	}
	var descriptors bytes.Buffer
	for _, d := range n.authority.listRelays() {
		fmt.Fprintf(&descriptors, "@last-listed %s\n", time.Now().UTC().Format(timeLayout))
		descriptors.Write(d.microdescriptor)
	}
	for name, text := range map[string][]byte{
		"cached-certs":               n.authority.keys.certificate,
		"cached-microdesc-consensus": consensus,
		"cached-microdescs.new":      descriptors.Bytes(),
	} {
		if err := os.WriteFile(filepath.Join(dataDir, name), text, 0o600); err != nil {
			return fmt.Errorf("seed data directory of tor: %w", err)
		}
	}
	return nil
}
