package tornet

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/onion/internal/torproc"
)

// ForTest starts a network that lives as long as the test. Tests that can share
// one run as subtests of the test that called ForTest.
//
// If tor is not installed the test is skipped; with the environment variable CI
// set it fails, because what CI skips is not known to work.
func ForTest(t testing.TB) *Network {
	t.Helper()
	if _, err := exec.LookPath("tor"); err != nil {
		const hint = "tor is not installed: apt-get install --no-install-recommends tor"
		if os.Getenv("CI") != "" {
			t.Fatal(hint)
		}
		t.Skip(hint)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n, err := Start(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// ClientForTest runs a tor that stands for the one of a system, with these lines in
// its torrc, until stop is called or the test ends.
func (n *Network) ClientForTest(t testing.TB, lines ...string) (stop func()) {
	t.Helper()
	dir := t.TempDir()
	data, torrc := filepath.Join(dir, "data"), filepath.Join(dir, "torrc")
	if err := n.Seed(data); err != nil {
		t.Fatal(err)
	}
	lines = append(append(n.ClientTorrc(), "DataDirectory "+data), lines...)
	if err := os.WriteFile(torrc, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := torproc.Start("tor", []string{"--defaults-torrc", n.emptyFile(), "-f", torrc}, nil, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p.Kill
}
