package rpc

import goplugin "github.com/hashicorp/go-plugin"

// Handshake tells a plugin that a relay started it. It is no secret and protects nothing.
// ProtocolVersion is the version of the framing, which go-plugin negotiates; the messages
// have versions in the names of their services.
var Handshake = goplugin.HandshakeConfig{
	ProtocolVersion:  1,
	MagicCookieKey:   "CWTCH_RELAY_PLUGIN",
	MagicCookieValue: "b3c1f0b1-6d0f-4c6a-9a0e-5f6f0a5a7f3e",
}

// PluginName is the name of every plugin in go-plugin's plugin set.
const PluginName = "plugin"

// Variables that the relay sets in the environment of a plugin, besides go-plugin's.
const (
	// EnvLifeline holds the file descriptor of the lifeline.
	EnvLifeline = "CWTCH_RELAY_PLUGIN_LIFELINE"
	// EnvLogLevel holds the lowest level that the relay logs: debug, info, warn or error.
	EnvLogLevel = "CWTCH_RELAY_PLUGIN_LOG_LEVEL"
)

// EnvReattach is a variable in the environment of a relay. It holds the plugins that were
// started by hand as a JSON object: an [Attachment] for each "KIND/NAME".
const EnvReattach = "CWTCH_REATTACH_PLUGINS"

// Attachment says where a plugin that was started by hand listens.
type Attachment struct {
	PID      int    `json:"pid"`
	Socket   string `json:"socket"`
	Protocol int    `json:"protocol"` // the version of the framing
}
