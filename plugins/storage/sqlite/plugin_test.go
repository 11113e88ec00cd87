package sqlite

import (
	"testing"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest/protocoltest"
)

func TestPathOption(t *testing.T) { storefiletest.CheckPathOption(t, Plugin(), "messages.sqlite") }

func TestProtocol(t *testing.T) {
	protocoltest.Run(t, protocoltest.Opener{
		Command: func(string) (pluginproc.Command, error) { return pluginproc.Command{Path: "/proc/self/exe"}, nil },
		Invalid: map[string]any{"path": "../elsewhere.db"},
	})
}
