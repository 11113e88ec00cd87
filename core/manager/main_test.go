package manager

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(envAsk); dir != "" {
		askAsChild(dir)
		return
	}
	if args := os.Getenv(envCrash); args != "" {
		crashAsChild(args)
	}
	if state := os.Getenv(envStore); state != "" {
		serveTestStore(state)
		return
	}
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/cwtch-relay/cwtch-relay/sdk/pluginproc.spawnLoop"))
}
