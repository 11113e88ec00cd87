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
	h := newHall(t)
	h.do("", "post", "club", "hello")
	if out := h.do("", "read", "-since", "2999-01-01", "club"); out != "" {
		t.Errorf("printed %s", out)
	}
	if out := h.do("", "read", "-since", "1h", "club"); !strings.HasSuffix(out, "  hello\n") {
		t.Errorf("printed %q", out)
	}
	if out := h.do("", "read", "-new", "club"); !strings.HasSuffix(out, "  hello\n") {
		t.Errorf("afterwards %q is unread", out)
	}
}

// follower runs follow and hands over its lines.
func (h *hall) follower(args ...string) (lines *bufio.Scanner, ended chan int, errs *bytes.Buffer) {
	read, write := io.Pipe()
	ended, errs = make(chan int, 1), new(bytes.Buffer)
	go func() {
		status := h.run(h.Context(), h.registry, nil, write, errs, append([]string{"follow", "-timeout", "2m"}, args...)...)
		write.Close()
		ended <- status
	}()
	return bufio.NewScanner(read), ended, errs
}

// A group that is renamed while it is followed is followed on.
func TestRenameWhileFollowing(t *testing.T) {
	h := newHall(t)
	h.do("", "post", "club", "one")
	lines, ended, errs := h.follower("-n", "2", "club")
	lines.Scan()
	h.do("", "rename", "club", "books")
	h.do("", "post", "books", "two")
	if !lines.Scan() || !strings.HasSuffix(lines.Text(), "  two") {
		t.Errorf("follow printed %q", lines.Text())
	}
	if status := <-ended; status != 0 {
		t.Errorf("status %d: %s", status, errs)
	}
	if out := h.do("", "read", "-new", "books"); out != "" {
		t.Errorf("unread is %s", out)
	}
}

// A group that is left while it is followed does not come back.
func TestLeaveWhileFollowing(t *testing.T) {
	h := newHall(t)
	h.do("", "post", "club", "one")
	lines, ended, errs := h.follower("-n", "2", "club")
	lines.Scan()
	invite := h.do("", "invite", "-with-server", "club")
	h.do("", "leave", "club")
	other := &hall{T: t, network: h.network, server: h.server, registry: h.registry, profile: t.TempDir()}
	other.do("", "init")
	other.do("", "join", strings.TrimSpace(invite))
	other.do("", "post", "club", "two")
	for lines.Scan() {
	}
	if status := <-ended; status != 1 || !strings.Contains(errs.String(), "no such group") {
		t.Errorf("status %d: %s", status, errs)
	}
	if out := h.do("", "list"); strings.Contains(out, "group ") {
		t.Errorf("the profile has %s", out)
	}
}
