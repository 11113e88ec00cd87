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
	goleak.VerifyTestMain(m)
}
