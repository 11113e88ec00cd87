package tornet

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"
)

// ForTest starts a network that lives as long as the test. Tests that can share
// one run as subtests of the test that called ForTest.
//
// Where tor is not installed the test is skipped, but fails when the
// environment variable CI is set: what CI does not run is not known to work.
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
	n, err := Start(ctx, t.TempDir(), Options{})
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
