package bolt

import (
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest/protocoltest"
)

func TestProtocol(t *testing.T) {
	protocoltest.Run(t, protocoltest.Opener{
		Command: func(string) (host.Command, error) { return host.Command{Path: "/proc/self/exe"}, nil },
		Invalid: map[string]any{"path": "../elsewhere.db"},
	})
}
