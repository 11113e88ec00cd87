package manager

// Hold takes a data directory for a program that uses the stores in it without
// being a relay. It fails while a relay or another such program has it, and
// keeps relays from starting on it until release is called.
func Hold(dataDir string) (release func(), err error) {
	d, err := claimDir(dataDir)
	if err != nil {
		return nil, err
	}
	return d.releaseDir, nil
}
