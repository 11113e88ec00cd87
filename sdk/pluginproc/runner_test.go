package pluginproc

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "debug" {
		plugin.Serve(map[string]plugin.Plugin{"seqs": seqPlugin, "reporter": reportPlugin}[os.Getenv("TEST_PLUGIN")])
		return
	}
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/cwtch-relay/cwtch-relay/sdk/pluginproc.spawnLoop"))
}

func TestPluginMustListenInItsDirectory(t *testing.T) {
	r := &runner{socketDir: "/run/x/plugin-dir1"}
	if _, _, err := r.PluginToHost("unix", "/run/x/plugin-dir1/plugin2"); err != nil {
		t.Error(err)
	}
	for _, address := range [][2]string{
		{"tcp", "192.0.2.1:80"}, {"unix", "/run/other.sock"}, {"unix", "/run/x/plugin-dir1/../../docker.sock"}, {"unix", "@abstract"}, {"", ""},
	} {
		if _, _, err := r.PluginToHost(address[0], address[1]); err == nil {
			t.Errorf("%q was accepted", address)
		}
	}
}
