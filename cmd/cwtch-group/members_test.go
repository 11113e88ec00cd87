package main

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
)

// What read -since leaves out stays unread.
func TestSinceLeavesTheRestUnread(t *testing.T) {
	h := newTestServer(t)
	h.mustRun("", "post", "club", "hello")
	if out := h.mustRun("", "read", "-since", "2999-01-01", "club"); out != "" {
		t.Errorf("printed %s", out)
	}
	if out := h.mustRun("", "read", "-since", "1h", "club"); !strings.HasSuffix(out, "  hello\n") {
		t.Errorf("printed %q", out)
	}
	if out := h.mustRun("", "read", "-new", "club"); !strings.HasSuffix(out, "  hello\n") {
		t.Errorf("afterwards %q is unread", out)
	}
}

// startFollow runs follow in the background and returns its output.
func (h *testServer) startFollow(args ...string) (lines *bufio.Scanner, ended chan int, errs *bytes.Buffer) {
	read, write := io.Pipe()
	ended, errs = make(chan int, 1), new(bytes.Buffer)
	go func() {
		status := h.run(h.Context(), h.registry, nil, write, errs, append([]string{"follow", "-timeout", "2m"}, args...)...)
		write.Close()
		ended <- status
	}()
	return bufio.NewScanner(read), ended, errs
}

// follow goes on when the group is renamed.
func TestRenameWhileFollowing(t *testing.T) {
	h := newTestServer(t)
	h.mustRun("", "post", "club", "one")
	lines, ended, errs := h.startFollow("-n", "2", "club")
	lines.Scan()
	h.mustRun("", "rename", "club", "books")
	h.mustRun("", "post", "books", "two")
	if !lines.Scan() || !strings.HasSuffix(lines.Text(), "  two") {
		t.Errorf("follow printed %q", lines.Text())
	}
	if status := <-ended; status != 0 {
		t.Errorf("status %d: %s", status, errs)
	}
	if out := h.mustRun("", "read", "-new", "books"); out != "" {
		t.Errorf("unread is %s", out)
	}
}

// A group that is left while it is followed does not come back.
func TestLeaveWhileFollowing(t *testing.T) {
	h := newTestServer(t)
	h.mustRun("", "post", "club", "one")
	lines, ended, errs := h.startFollow("-n", "2", "club")
	lines.Scan()
	invite := h.mustRun("", "invite", "-with-server", "club")
	h.mustRun("", "leave", "club")
	other := &testServer{T: t, network: h.network, server: h.server, registry: h.registry, profile: t.TempDir()}
	other.mustRun("", "init")
	other.mustRun("", "join", strings.TrimSpace(invite))
	other.mustRun("", "post", "club", "two")
	for lines.Scan() {
	}
	if status := <-ended; status != 1 || !strings.Contains(errs.String(), "no such group") {
		t.Errorf("status %d: %s", status, errs)
	}
	if out := h.mustRun("", "list"); strings.Contains(out, "group ") {
		t.Errorf("the profile has %s", out)
	}
}
