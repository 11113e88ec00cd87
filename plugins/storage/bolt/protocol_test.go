package bolt

import (
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest/protocoltest"
)

func TestProtocol(t *testing.T) {
	protocoltest.Run(t, protocoltest.Opener{
		Command: func(string) (pluginproc.Command, error) { return pluginproc.Command{Path: "/proc/self/exe"}, nil },
		Invalid: map[string]any{"path": "../elsewhere.db"},
	})
}
