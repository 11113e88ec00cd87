package console

import (
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// pluginsView are the plugins of all servers.
type pluginsView struct{ Servers []pluginsOfServer }

type pluginsOfServer struct {
	Name, Path string
	Plugins    []pluginView
}

type pluginView struct {
	Purpose, Name, Version string
	Word                   string // for the state
	Good, Bad              bool
	Since                  string
	Restarts               int
	Reason                 string
	LastError, LastErrorAt string
}

// purposes are the kinds of plugins in plain words.
var purposes = map[plugin.Kind]string{
	plugin.KindStorage:  "Keeps the messages",
	plugin.KindStats:    "Publishes figures",
	plugin.KindPeerSync: "Shares messages with other relays",
}

func (c *Console) viewPlugins(v *visit) (any, bool) {
	var view pluginsView
	for _, s := range c.watch.status(v.r.Context()).Servers {
		one := pluginsOfServer{Name: s.Name, Path: serverPath(s.Name)}
		if s.Storage.Name != "" { // unknown if the file of the server is broken
			one.Plugins = append(one.Plugins, viewPlugin(s.Storage, ""))
		}
		for _, p := range s.Others {
			one.Plugins = append(one.Plugins, viewPlugin(p.Status, p.Instance))
		}
		view.Servers = append(view.Servers, one)
	}
	return view, true
}

func viewPlugin(p supervise.Status, instance string) pluginView {
	view := pluginView{Purpose: purposes[p.Kind], Name: p.Name, Version: p.Version, Restarts: p.Restarts, Reason: p.Reason}
	if instance != "" && instance != p.Name {
		view.Name += " (" + instance + ")"
	}
	switch p.State {
	case supervise.Ready:
		view.Word, view.Good = "Working", true
	case supervise.Degraded:
		view.Word, view.Bad = "Working, with a problem", true
	case supervise.Failed:
		view.Word, view.Bad = "Given up", true
	case supervise.Backoff:
		view.Word, view.Bad = "Ended; starts again soon", true
	case supervise.Stopped:
		view.Word = "Off"
	default:
		view.Word = "Starting…"
	}
	if !p.Since.IsZero() {
		view.Since = formatAge(time.Since(p.Since))
	}
	if p.LastErrorAt != nil {
		view.LastError, view.LastErrorAt = p.LastError, formatAge(time.Since(*p.LastErrorAt))
	}
	return view
}
