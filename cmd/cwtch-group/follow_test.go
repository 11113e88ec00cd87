package main

import (
	"bufio"
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
)

// newLoopback returns a directory with a loopback network in it, and the keys of a server.
func newLoopback(t *testing.T) (dir, registry string, network onion.Network, keys *identity.Server) {
	t.Helper()
	dir = t.TempDir()
	registry = filepath.Join(dir, "net")
	network, err := onion.Loopback(registry)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { network.Close() })
	if keys, err = identity.LoadOrCreate(filepath.Join(dir, "keys")); err != nil {
		t.Fatal(err)
	}
	return dir, registry, network, keys
}

// follow connects again when the server is back, and goes on printing.
func TestFollowConnectsAgain(t *testing.T) {
	dir, registry, network, keys := newLoopback(t)
	do := func(ctx context.Context, stdout io.Writer, args ...string) {
		t.Helper()
		var errs strings.Builder
		status := runCommand(ctx, append([]string{"-q", "-network", "loopback:" + registry, "-profile", filepath.Join(dir, "p")}, args...),
			environment{stdin: strings.NewReader(""), stdout: stdout, stderr: &errs, getenv: func(string) string { return "" }})
		if status != 0 {
			t.Errorf("%s: %s", args, &errs)
		}
	}
	server, err := startRelay(network, keys)
	if err != nil {
		t.Fatal(err)
	}
	do(t.Context(), io.Discard, "init")
	do(t.Context(), io.Discard, "import-server", server.Bundle().String())
	do(t.Context(), io.Discard, "create", "club")

	ctx, interrupt := context.WithCancel(t.Context())
	read, write := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		do(ctx, write, "follow", "club")
		write.Close()
	}()
	lines := bufio.NewScanner(read)
	expect := func(text string) {
		t.Helper()
		if !lines.Scan() || !strings.HasSuffix(lines.Text(), text) {
			t.Fatalf("follow printed %q, want %q", lines.Text(), text)
		}
	}
	do(t.Context(), io.Discard, "post", "club", "before")
	expect("before")
	if err := server.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if server, err = startRelay(network, keys); err != nil {
		t.Fatal(err)
	}
	do(t.Context(), io.Discard, "post", "club", "after")
	expect("after")
	interrupt()
	<-ended
	if err := server.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Messages that follow could not print stay unread: read -new prints them later.
func TestFollowWithABrokenOutput(t *testing.T) {
	dir, registry, network, keys := newLoopback(t)
	server, err := startRelay(network, keys)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close(t.Context())
	var out strings.Builder
	do := func(status int, stdout io.Writer, args ...string) {
		t.Helper()
		var errs strings.Builder
		got := runCommand(t.Context(), append([]string{"-q", "-network", "loopback:" + registry, "-profile", filepath.Join(dir, "p")}, args...),
			environment{stdin: strings.NewReader(""), stdout: stdout, stderr: &errs, getenv: func(string) string { return "" }})
		if got != status {
			t.Errorf("%s: status %d, want %d: %s", args, got, status, &errs)
		}
	}
	do(0, io.Discard, "init")
	do(0, io.Discard, "import-server", server.Bundle().String())
	do(0, io.Discard, "create", "club")
	do(0, io.Discard, "post", "club", "a message")
	do(1, brokenWriter{}, "follow", "-n", "1", "club")
	do(0, &out, "read", "-new", "club")
	if !strings.HasSuffix(out.String(), "a message\n") {
		t.Errorf("reading printed %q", &out)
	}
}
