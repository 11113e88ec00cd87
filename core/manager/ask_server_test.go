package manager

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// lockedBuffer is a buffer for a log.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// The commands of an operator go through the control socket, with the errors of the methods. The
// log has a line for each change, without a passphrase.
func TestCommandsChangeServers(t *testing.T) {
	h, f := newOperatedRelay(t)
	var log lockedBuffer
	h.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	h.cfg.OpenConsole = func(ownUser bool) (string, error) { return fmt.Sprintf("http://127.0.0.1:1/open/x?%t", ownUser), nil }
	m := h.startOperated(f)
	ctx, dir := t.Context(), h.cfg.DataDir
	plan, err := AskAdd(ctx, dir, NewServer{Name: "main", Description: strings.Repeat("é", 500), Autostart: true, Passphrase: right})
	h.mustPlan(plan, err)
	if plan.Steps[0].Bundle == "" {
		t.Errorf("got %+v", plan)
	}
	h.mustPlan(AskEdit(ctx, dir, "main", ServerChange{Description: new("short")}))
	servers, err := AskServers(ctx, dir)
	if err != nil || len(servers) != 1 || servers[0].State != StateRunning || servers[0].Description != "short" || !servers[0].Protected {
		t.Errorf("got %+v, %v", servers, err)
	}
	h.mustPlan(AskStop(ctx, dir, "main"))
	h.acceptStore("main")
	_, startErr := AskStart(ctx, dir, "main", nil)
	_, unlockErr := AskUnlock(ctx, dir, "main", wrong)
	_, editErr := AskEdit(ctx, dir, "other", ServerChange{})
	_, addErr := AskAdd(ctx, dir, NewServer{Name: "main"})
	if !errors.Is(startErr, identity.ErrLocked) || !errors.Is(unlockErr, identity.ErrWrongPassphrase) || !errors.Is(editErr, ErrNoSuchServer) {
		t.Errorf("got %v, %v, %v", startErr, unlockErr, editErr)
	}
	if field, ok := errors.AsType[*FieldError](addErr); !ok || field.Field != "name" {
		t.Errorf("got %v", addErr)
	}
	h.mustPlan(AskUnlock(ctx, dir, "main", right))
	if err := AskChangePassphrase(ctx, dir, "main", right, wrong); err != nil {
		t.Error(err)
	}
	if address, err := AskConsole(ctx, dir); err != nil || !strings.HasSuffix(address, "?false") {
		t.Errorf("got %s, %v", address, err)
	}
	if address, err := AskOwnConsole(ctx, dir); err != nil || !strings.HasSuffix(address, "?true") {
		t.Errorf("got %s, %v", address, err)
	}
	if err := AskDelete(ctx, dir, "main", wrong); err != nil {
		t.Error(err)
	}
	h.wantNothingLeft(f, "main")
	if servers, err := AskServers(ctx, dir); err != nil || len(servers) != 0 {
		t.Errorf("got %+v, %v", servers, err)
	}
	m.Close(ctx)
	text := log.String()
	for _, line := range []string{
		"msg=change change=add server=main from=command", "msg=change change=edit server=main from=command", "msg=change change=stop server=main from=command",
		`msg="change refused" change=unlock server=main from=command`, "msg=change change=unlock server=main from=command",
		`msg=change change="change the passphrase of" server=main from=command`, "msg=change change=delete server=main from=command",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("the log lacks %q", line)
		}
	}
	if strings.Contains(text, string(right)) || strings.Contains(text, string(wrong)) {
		t.Error("the log has a passphrase")
	}
}
