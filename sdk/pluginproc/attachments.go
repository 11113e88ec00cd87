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

// EnvReattach is the environment variable of a relay that lists the plugins to attach to;
// see [Attachments].
const EnvReattach = rpc.EnvReattach

// maxAttachments bounds the value of EnvReattach, in bytes.
const maxAttachments = 64 << 10

// AttachConfig says where to find a plugin that was started by hand.
type AttachConfig struct {
	Socket   string // absolute
	PID      int    // shown to operators; the process is never signalled
	Protocol int    // the version of the framing
	Tracer   Tracer // nil: calls are not traced
}

// Attachments reads the value of [EnvReattach], which a plugin prints when it is started
// with the argument "debug". It returns the plugins to attach to by "KIND/NAME".
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
	for id, a := range in {
		kind, name, _ := strings.Cut(id, "/")
		if err := (plugin.Description{Kind: plugin.Kind(kind), Name: name, Version: "0"}).Validate(); err != nil {
			return nil, fmt.Errorf("%.80q is not KIND/NAME: %w", id, err)
		}
		switch _, spoken := framingVersions[a.Protocol]; {
		case !filepath.IsAbs(a.Socket) || len(a.Socket) > unixsocket.MaxPath || strings.ContainsRune(a.Socket, 0):
			return nil, fmt.Errorf("%s: %.120q is not the absolute path of a socket", id, a.Socket)
		case a.PID < 1:
			return nil, fmt.Errorf("%s: %d is not the number of a process", id, a.PID)
		case !spoken:
			return nil, fmt.Errorf("%s: it speaks version %d of the framing, which this relay does not", id, a.Protocol)
		}
		out[id] = AttachConfig{Socket: a.Socket, PID: a.PID, Protocol: a.Protocol}
	}
	return out, nil
}
