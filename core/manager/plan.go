package manager

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/retention"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
)

// Plan is what a reload does, or would do. The only steps that delete data are those with
// Deletes or DeletesLater.
type Plan struct {
	Config string `json:"config"` // the path of the file
	// Applied reports whether the steps were taken. They are not in a dry run, nor if
	// anything is refused.
	Applied bool `json:"applied"`
	// Unchanged: the file of the server said already what it was to say.
	Unchanged bool `json:"unchanged,omitempty"`
	// Refused are the changes that a running relay cannot make.
	Refused []Refusal `json:"refused"`
	Steps   []Step    `json:"steps"`
	// Down are the plugins that do not run in the end although no failed step names them.
	Down []DownPlugin `json:"down,omitempty"`
}

// Failed counts the failed steps, and the plugins that are down besides.
func (p *Plan) Failed() (n int) {
	n = len(p.Down)
	for _, s := range p.Steps {
		if s.Error != "" {
			n++
		}
	}
	return n
}

// Refusal is a change that takes more than a reload.
type Refusal struct {
	Where string `json:"where,omitempty"` // in the file: "server.hcl:7,3"
	What  string `json:"what"`
	Hint  string `json:"hint"` // what to do instead
}

// Action is what a step does.
type Action string

const (
	ActionStart       Action = "start"
	ActionStop        Action = "stop"
	ActionAdd         Action = "add"         // to the servers that do not run
	ActionRestart     Action = "restart"     // stop and start; what depends on it waits meanwhile
	ActionReconfigure Action = "reconfigure" // in the same process
	ActionRetry       Action = "retry"       // a failed plugin, or a server that does not run
	ActionSet         Action = "set"         // in place, without stopping anything
)

// Step is one part of a plan.
type Step struct {
	Action Action `json:"action"`
	Server string `json:"server,omitempty"` // empty: the relay as a whole
	Plugin string `json:"plugin,omitempty"` // "stats/prometheus"; empty: the server itself
	// Settings names what has changed. It never has values, which may be secret.
	Settings []string `json:"settings,omitempty"`
	Note     string   `json:"note,omitempty"`
	// Deletes is what another retention would remove at once; absent if that is nothing.
	Deletes *Deletion `json:"deletes,omitempty"`
	// DeletesLater is what it would remove besides once the clock of the machine is
	// believed; absent if that is nothing.
	DeletesLater *LaterDeletion `json:"deletes_later,omitempty"`
	Done         bool           `json:"done"`
	Bundle       string         `json:"bundle,omitempty"` // of a server that was started: what clients import
	Error        string         `json:"error,omitempty"`  // why the step is not done

	do           func(context.Context) error
	listenFailed bool // Error may be that another plugin has the address
}

// String says what the step does: "restart stats/prometheus of server main
// (checksum)".
func (s Step) String() string {
	text := string(s.Action)
	switch {
	case s.Plugin != "":
		text += fmt.Sprintf(" %s of server %s", s.Plugin, s.Server)
	case s.Server != "":
		text += " server " + s.Server
	}
	if len(s.Settings) > 0 {
		list := strings.Join(s.Settings, ", ")
		if s.Action != ActionSet {
			list = "(" + list + ")"
		}
		text += " " + list
	}
	if s.Note != "" {
		text += ": " + s.Note
	}
	if s.Deletes != nil {
		text += ": " + s.Deletes.String()
	}
	if s.DeletesLater != nil {
		text += ": " + s.DeletesLater.String()
	}
	return text
}

// Deletion is what a change of a retention removes.
type Deletion struct {
	Hours     int       `json:"hours"`
	Envelopes uint64    `json:"envelopes"`
	Bytes     uint64    `json:"bytes"`
	Newest    time.Time `json:"newest"` // the hour in which the newest of them were born
}

// newDeletion returns what a decision removes, or nil if it removes nothing.
func newDeletion(d retention.Decision) *Deletion {
	if d.Hours == 0 {
		return nil
	}
	return &Deletion{Hours: d.Hours, Envelopes: d.Gone.Count, Bytes: d.Gone.Bytes, Newest: time.Unix(int64(d.Newest)*3600, 0).UTC()}
}

// LaterDeletion is what a change of a retention removes when the clock of the machine, which
// is far ahead, is believed.
type LaterDeletion struct {
	Deletion
	After string `json:"after"` // how long the relay has to run until then
}

func (d LaterDeletion) String() string {
	return fmt.Sprintf("%s, after the relay has run for another %s, since the clock of this machine is far ahead and not believed yet; if it is wrong, set it", d.Deletion, d.After)
}

func (d Deletion) String() string {
	return fmt.Sprintf("deletes %d envelopes with %.1f MiB, of %d hours, the newest from %s", d.Envelopes, float64(d.Bytes)/(1<<20), d.Hours, d.Newest.Format("2006-01-02 15:04 MST"))
}

// Deletes reports whether a step of the plan deletes data at once.
func (p *Plan) Deletes() bool {
	return slices.ContainsFunc(p.Steps, func(s Step) bool { return s.Deletes != nil })
}

// DeletesLater reports whether a step of the plan deletes data that it does not delete at once.
func (p *Plan) DeletesLater() bool {
	return slices.ContainsFunc(p.Steps, func(s Step) bool { return s.DeletesLater != nil })
}

// DownPlugin is a plugin that does not run.
type DownPlugin struct {
	Server string          `json:"server"`
	Plugin string          `json:"plugin"` // "stats/prometheus"
	State  supervise.State `json:"state"`
	Error  string          `json:"error"`
}
