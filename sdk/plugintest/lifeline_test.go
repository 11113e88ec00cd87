package plugintest_test

import (
	"os"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
)

// TestLifelineThatIsIgnored costs a suite the time for it once, and not a check.
func TestLifelineThatIsIgnored(t *testing.T) {
	t.Parallel()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The plugin is not told of a lifeline, and so does not see its end.
	deaf := plugintest.External("deaf", func(string) (pluginproc.Command, error) {
		return pluginproc.Command{Path: "/bin/sh", Args: []string{"-c", `unset CWTCH_RELAY_PLUGIN_LIFELINE; exec "$0"`, binary}}, nil
	})
	for i := range 3 {
		opened, err := deaf.Open(t, t.TempDir(), nil)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := opened.Close(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); (took >= host.EndTimeout) != (i == 0) {
			t.Errorf("end %d took %v", i, took)
		}
	}
}
