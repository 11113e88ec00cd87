package rpc

import goplugin "github.com/hashicorp/go-plugin"

// Handshake tells a relay and its plugins from other programs; it is no secret
// and protects nothing. The version is that of the framing, which go-plugin
// negotiates; what is said within it is versioned by the names of the services.
var Handshake = goplugin.HandshakeConfig{
	ProtocolVersion:  1,
	MagicCookieKey:   "CWTCH_RELAY_PLUGIN",
	MagicCookieValue: "b3c1f0b1-6d0f-4c6a-9a0e-5f6f0a5a7f3e",
}

// PluginName is the one name that plugins of all kinds have in go-plugin's set.
const PluginName = "plugin"

// Names of what the relay sets in the environment of a plugin, besides what
// go-plugin itself does.
const (
	// EnvLifeline holds the number of the file descriptor that is the lifeline.
	EnvLifeline = "CWTCH_RELAY_PLUGIN_LIFELINE"
	// EnvLogLevel holds the lowest level of log lines that the relay keeps:
	// debug, info, warn or error.
	EnvLogLevel = "CWTCH_RELAY_PLUGIN_LOG_LEVEL"
)

// EnvReattach holds, in the environment of a relay, the plugins that were
// started by hand: an object with an [Attachment] for each "KIND/NAME", as JSON.
const EnvReattach = "CWTCH_REATTACH_PLUGINS"

// Attachment says where a plugin that was started by hand is to be found.
type Attachment struct {
	PID      int    `json:"pid"`
	Socket   string `json:"socket"`
	Protocol int    `json:"protocol"` // the version of the framing
}
