package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/group"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/onion/tornet"
)

// The pages for members work as written, from a system without a profile on.
func TestPages(t *testing.T) {
	for page, prefix := range map[string]string{"docs/members.md": "    $ cwtch-group ", "README.md": "    bin/cwtch-group "} {
		t.Run(page, func(t *testing.T) {
			h := newTestServer(t)
			w := &pageReader{T: t, network: []string{"-network", "loopback:" + h.registry}, bundle: h.server.Bundle().String(), home: t.TempDir()}
			w.followPage(page, prefix)
		})
	}
}

// The page works over Tor.
func TestPageOverTor(t *testing.T) {
	tor := tornet.ForTest(t)
	t.Run("members", func(t *testing.T) { // ends before the network does
		keys, err := identity.LoadOrCreate(filepath.Join(t.TempDir(), "keys"))
		if err != nil {
			t.Fatal(err)
		}
		network, err := onion.StartTor(t.Context(), onion.TorConfig{DataDir: filepath.Join(t.TempDir(), "tor"), Torrc: tor.ClientTorrc()})
		if err != nil {
			t.Fatal(err)
		}
		defer network.Close()
		server, err := startRelay(network, keys)
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close(context.Background())
		torrc := filepath.Join(t.TempDir(), "torrc")
		if err := os.WriteFile(torrc, []byte(strings.Join(tor.ClientTorrc(), "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		w := &pageReader{T: t, network: []string{"-torrc", torrc}, bundle: server.Bundle().String(), home: t.TempDir()}
		w.followPage("docs/members.md", "    $ cwtch-group ")
	})
}

func readPage(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", page))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// pageReader is two people who follow a page, each with their default profile.
type pageReader struct {
	*testing.T
	network  []string // flags
	bundle   string
	home     string
	invite   string
	joined   bool
	member   string // name of the guest in the host's profile
	commands int
}

func (w *pageReader) followPage(page, prefix string) {
	w.Helper()
	for line := range strings.Lines(readPage(w.T, page)) {
		if command, ok := strings.CutPrefix(line, prefix); ok {
			w.runLine(strings.TrimSpace(command))
		}
	}
	if w.commands < 5 {
		w.Errorf("the page has %d commands", w.commands)
	}
}

var shellWords = regexp.MustCompile(`"[^"]*"|\S+`)

func (w *pageReader) runLine(line string) {
	w.Helper()
	w.commands++
	line, _, _ = strings.Cut(line, "  #")
	line = strings.NewReplacer("server:…", w.bundle, "tofubundle:server:…", w.invite, "tofubundle:…", w.invite).Replace(line)
	var args []string
	for _, word := range shellWords.FindAllString(line, -1) {
		args = append(args, strings.Trim(word, `"`))
	}
	who := "host"
	switch args[0] {
	case "join":
		w.joined = true
	case "follow":
		args = append(args, "-all", "-n", "1", "-timeout", "2m") // it would not end
	case "members": // the host must have read messages
		w.runAs("host", "read", args[1])
		w.joined = false
	case "nick":
		args[2] = w.member
	}
	if w.joined {
		who = "guest"
	}
	for i, a := range args {
		if a == "-profile" {
			args[i+1] = filepath.Join(w.home, args[i+1])
		}
	}
	out := w.runAs(who, args...)
	switch args[0] {
	case "invite":
		w.invite = strings.TrimSpace(out)
	case "members":
		w.member = strings.Fields(out)[2] // behind "you" and their onion
	}
}

func (w *pageReader) runAs(who string, args ...string) string {
	w.Helper()
	w.Setenv("XDG_CONFIG_HOME", filepath.Join(w.home, who))
	w.Setenv("HOME", w.home)
	var out, errs bytes.Buffer
	status := runCommand(w.Context(), append(slices.Clone(w.network), args...),
		environment{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, getenv: func(string) string { return "" }})
	if status != 0 {
		w.Errorf("%s: %.60q: status %d: %s", who, args, status, &errs)
	}
	return out.String()
}

// The page quotes what the program prints.
func TestPageQuotes(t *testing.T) {
	page := readPage(t, "docs/members.md")
	h := newTestServer(t)
	var errs bytes.Buffer
	h.run(t.Context(), h.registry, nil, &errs, &errs, "-json", "post", "reading", "hello")
	letters := len(group.SplitChat(strings.Repeat("x", 5000))[0])
	for _, want := range []string{strings.TrimSpace(errs.String()), fmt.Sprintf("longer than %d bytes", maxPost), fmt.Sprintf("holds %d bytes", letters)} {
		if !strings.Contains(page, want) {
			t.Errorf("docs/members.md does not say %s", want)
		}
	}
	if !strings.Contains(postHelp, fmt.Sprint(maxPost)) {
		t.Error("the help of post says another limit")
	}
}
