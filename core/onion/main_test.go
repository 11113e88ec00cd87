package onion

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("ONION_CHILD_DIR"); dir != "" {
		childMain(dir)
	}
	goleak.VerifyTestMain(m)
}
