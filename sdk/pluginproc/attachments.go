package pluginproc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/unixsocket"
)

// EnvReattach is the variable in the environment of a relay that names the
// plugins to attach to; see [Attachments].
const EnvReattach = rpc.EnvReattach

// maxAttachments bounds what EnvReattach holds, in bytes.
const maxAttachments = 64 << 10

// AttachConfig says where to find a plugin that was started by hand.
type AttachConfig struct {
	Socket   string // absolute
	PID      int    // for operators; nothing is done to the process
	Protocol int    // the version of the framing
	Tracer   Tracer // where set, is told of every call
}

// Attachments reads the value of [EnvReattach]: the plugins to attach to, by
// "KIND/NAME", as a plugin prints it that is started with the argument "debug".
// Empty is none.
func Attachments(env string) (map[string]AttachConfig, error) {
	if env == "" {
		return nil, nil
	}
	out, err := parseAttachments(env)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; it should be what the plugin printed between the quotes", EnvReattach, err)
	}
	return out, nil
}

func parseAttachments(env string) (map[string]AttachConfig, error) {
	if len(env) > maxAttachments {
		return nil, fmt.Errorf("%d bytes, limit %d", len(env), maxAttachments)
	}
	var in map[string]rpc.Attachment
	d := json.NewDecoder(strings.NewReader(env))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the object")
	}
	out := make(map[string]AttachConfig, len(in))
	for plug, a := range in {
		kind, name, _ := strings.Cut(plug, "/")
		if err := (plugin.Description{Kind: plugin.Kind(kind), Name: name, Version: "0"}).Validate(); err != nil {
			return nil, fmt.Errorf("%.80q is not KIND/NAME: %w", plug, err)
		}
		switch _, spoken := framings[a.Protocol]; {
		case !filepath.IsAbs(a.Socket) || len(a.Socket) > unixsocket.MaxPath || strings.ContainsRune(a.Socket, 0):
			return nil, fmt.Errorf("%s: %.120q is not the absolute path of a socket", plug, a.Socket)
		case a.PID < 1:
			return nil, fmt.Errorf("%s: %d is not the number of a process", plug, a.PID)
		case !spoken:
			return nil, fmt.Errorf("%s: it speaks version %d of the framing, which this relay does not", plug, a.Protocol)
		}
		out[plug] = AttachConfig{Socket: a.Socket, PID: a.PID, Protocol: a.Protocol}
	}
	return out, nil
}
