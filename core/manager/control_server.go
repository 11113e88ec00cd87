package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// The commands of the control socket that concern one server, and that of the console.

const (
	// changeTimeout bounds a change of one server, until it runs or has failed.
	changeTimeout = turnTimeout + stepTimeout
	// maxChanges is how many clients may wait for such commands at a time. The other slots
	// are for those who only ask.
	maxChanges = maxClients / 2
)

// errorKind names the errors that a command can tell from others.
type errorKind string

const (
	kindNoServer        errorKind = "no_such_server"
	kindLocked          errorKind = "locked"
	kindNotProtected    errorKind = "not_protected"
	kindWrongPassphrase errorKind = "wrong_passphrase"
	kindBusy            errorKind = "busy"
)

// errorKinds has the error of each kind.
var errorKinds = map[errorKind]error{
	kindNoServer: ErrNoSuchServer, kindLocked: identity.ErrLocked, kindNotProtected: identity.ErrNotProtected,
	kindWrongPassphrase: identity.ErrWrongPassphrase, kindBusy: ErrBusy,
}

// refusalOf is the answer to a request that has failed.
func refusalOf(err error) errorAnswer {
	answer := errorAnswer{Error: err.Error()}
	if field, ok := errors.AsType[*FieldError](err); ok {
		answer.Error, answer.Field = field.Text, field.Field
	}
	if often, ok := errors.AsType[*TooManyAttemptsError](err); ok {
		answer.RetryAfter = int64(cmp.Or(often.RetryAfter, time.Second) / time.Second)
	}
	for kind, is := range errorKinds {
		if errors.Is(err, is) {
			answer.Kind = kind
		}
	}
	return answer
}

// asError is the error that refusalOf was given, as far as it can be told.
func (a errorAnswer) asError() error {
	switch {
	case a.Field != "":
		return &FieldError{a.Field, a.Error}
	case a.RetryAfter > 0:
		return &TooManyAttemptsError{time.Duration(a.RetryAfter) * time.Second}
	}
	return &RefusedError{Text: a.Error, kind: errorKinds[a.Kind]}
}

// serverRequest is what a request says of one server.
type serverRequest struct {
	Add        *NewServer    `json:"add,omitempty"`
	Edit       *ServerChange `json:"edit,omitempty"`
	Passphrase []byte        `json:"passphrase,omitempty"` // to start, unlock, delete; of passwd: the old one
	New        []byte        `json:"new,omitempty"`        // of passwd
}

// wipePassphrases clears the passphrases.
func (r *serverRequest) wipePassphrases() {
	if r.Add != nil {
		clear(r.Add.Passphrase)
	}
	clear(r.Passphrase)
	clear(r.New)
}

// doneAnswer is the answer to a change without a plan.
type doneAnswer struct {
	Done bool `json:"done"`
}

// serversAnswer is the answer to the command servers.
type serversAnswer struct {
	Servers []ServerStatus `json:"servers"`
}

// consoleAnswer is the answer to the command console.
type consoleAnswer struct {
	Address string `json:"address"`
}

// bundleAnswer is the answer to the command bundle.
type bundleAnswer struct {
	Bundle string `json:"bundle"`
}

// serverCommands are the commands of this file.
var serverCommands = []string{"servers", "bundle", "add", "edit", "start", "stop", "unlock", "delete", "passwd", "console"}

// answerServerRequest answers the commands of this file.
func (m *Manager) answerServerRequest(req request) any {
	switch {
	case !slices.Contains(serverCommands, req.Command):
		return errorAnswer{Error: fmt.Sprintf("the relay does not know the command %.40q; it may be of another version", req.Command)}
	case req.Command == "servers":
		return serversAnswer{m.listServers()}
	case req.Command == "bundle":
		text, err := m.Bundle(req.Server)
		if err != nil {
			return refusalOf(err)
		}
		return bundleAnswer{text}
	}
	select {
	case m.changeSlots <- struct{}{}:
		defer func() { <-m.changeSlots }()
	default:
		return refusalOf(ErrBusy)
	}
	defer req.Change.wipePassphrases()
	ctx, cancel := context.WithTimeout(WithOrigin(m.closing, "command"), changeTimeout)
	defer cancel()
	var answer any
	var err error
	switch req.Command {
	case "add", "edit", "start", "stop", "unlock":
		answer, err = m.answerChange(ctx, req)
	case "delete":
		answer, err = doneAnswer{true}, m.DeleteServer(ctx, req.Server, req.Change.Passphrase)
	case "passwd":
		answer, err = doneAnswer{true}, m.ChangePassphrase(ctx, req.Server, req.Change.Passphrase, req.Change.New)
	case "console":
		answer, err = m.openConsole(req.OwnUser)
	}
	if err != nil {
		return refusalOf(err)
	}
	return answer
}

// answerChange makes a change that has a plan.
func (m *Manager) answerChange(ctx context.Context, req request) (*Plan, error) {
	switch {
	case req.Command == "add" && req.Change.Add != nil:
		return m.AddServer(ctx, *req.Change.Add)
	case req.Command == "edit" && req.Change.Edit != nil:
		return m.EditServer(ctx, req.Server, *req.Change.Edit)
	case req.Command == "start":
		return m.StartServer(ctx, req.Server, req.Change.Passphrase)
	case req.Command == "stop":
		return m.StopServer(ctx, req.Server)
	case req.Command == "unlock":
		return m.UnlockServer(ctx, req.Server, req.Change.Passphrase)
	}
	return nil, fmt.Errorf("the request to %s lacks what is to change; it may be of another version", req.Command)
}

// listServers is the status of the servers without what their stores would have to be asked for.
func (m *Manager) listServers() []ServerStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]ServerStatus, len(m.servers))
	for i, s := range m.sortedServers() {
		list[i] = s.knownStatus()
	}
	return list
}

var errNoConsole = errors.New(`this relay has no console: write a block "console {}" in its configuration and restart it`)

func (m *Manager) openConsole(ownUser bool) (consoleAnswer, error) {
	if m.cfg.OpenConsole == nil {
		return consoleAnswer{}, errNoConsole
	}
	address, err := m.cfg.OpenConsole(ownUser)
	return consoleAnswer{address}, err
}
