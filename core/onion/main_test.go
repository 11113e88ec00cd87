package onion

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	if to := os.Getenv("ONION_FORWARD_TO"); to != "" {
		forwardMain(to)
	}
	if dir := os.Getenv("ONION_CHILD_DIR"); dir != "" {
		childMain(dir)
	}
	goleak.VerifyTestMain(m)
}
