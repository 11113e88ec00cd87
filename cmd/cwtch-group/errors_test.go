package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// badLines are command lines that fail while the server is stopped, at least one for
// each command.
var badLines = [][]string{
	{},
	{"dance"},
	{"-profil", "x", "list"},
	{"-network", "", "list"},
	{"help", "dance"},
	{"init"},
	{"import-server", "nonsense"},
	{"import-server"},
	{"create", ""},
	{"create", "club"},
	{"create", "-server", "0", "other"},
	{"invite", "clud"},
	{"join", "nonsense"},
	{"post", "club", ""},
	{"post", "club", "hello"},
	{"post", "clbu", "hello"},
	{"read", "club"},
	{"read", "-new", "-since", "2h", "club"},
	{"read", "-since", "\x1b[2J", "club"},
	{"follow", "-timeout", "1ms", "-n", "1", "club"},
	{"follow", "-n", "-1", "club"},
	{"members", "none"},
	{"nick", "club", "x", "y"},
	{"rename", "club", ""},
	{"leave", "none"},
	{"list", "too much"},
	{"version", "too much"},
}

// With -json, wherever it stands, errors of all commands have one shape, and nothing
// else is on standard error.
func TestErrorsAsJSON(t *testing.T) {
	h := newTestServer(t)
	h.stopServer()
	for _, line := range badLines {
		for _, args := range [][]string{append([]string{"-json"}, line...), append(slices.Clone(line), "--json")} {
			var plain, errs bytes.Buffer
			want := h.run(t.Context(), h.registry, strings.NewReader(""), &plain, &plain, line...)
			status := h.run(t.Context(), h.registry, strings.NewReader(""), &plain, &errs, args...)
			if status != want || status == 0 {
				t.Errorf("%q: status %d, and %d without -json", args, status, want)
			}
			var f struct {
				Error, Hint string
				Status      int
			}
			d := json.NewDecoder(&errs)
			d.DisallowUnknownFields()
			if err := d.Decode(&f); err != nil || f.Error == "" || f.Status != status || d.More() {
				t.Errorf("%q: %+v, %v", args, f, err)
			}
		}
	}
}

func TestWantsJSON(t *testing.T) {
	for args, want := range map[string]bool{
		"list": false, "-json list": true, "list --json": true, "-json=true": true, "-json=false": false, "-json=x": true,
		"post club -- -json": false, "-jsonx": false, "json": false, "": false,
	} {
		if got := wantsJSON(strings.Fields(args)); got != want {
			t.Errorf("%q: %t", args, got)
		}
	}
}

// flagsOf returns the flags that a command has.
func flagsOf(name string) []string {
	c, err := findCommand(name)
	var o options
	fs := newFlagSet()
	o.addCommon(fs)
	if err == nil && c.flags != nil {
		c.flags(&o, fs)
	}
	var names []string
	fs.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	return names
}

var (
	flagWord    = regexp.MustCompile(`(?:^|[\s(])--?([a-z][a-z-]*)`)
	commandWord = regexp.MustCompile(`cwtch-group ([a-z-]+)`)
)

// Hints name flags that the command has, or another command with its flags.
func TestHintsNameFlagsThatExist(t *testing.T) {
	h := newTestServer(t)
	h.stopServer()
	for _, line := range badLines {
		var errs bytes.Buffer
		h.run(t.Context(), h.registry, strings.NewReader(""), &errs, &errs, line...)
		_, hint, _ := strings.Cut(errs.String(), "hint: ")
		name := ""
		if len(line) > 0 {
			name = line[0]
		}
		has := append(flagsOf(name), "help")
		for _, m := range commandWord.FindAllStringSubmatch(hint, -1) {
			if _, err := findCommand(m[1]); err != nil && m[1] != "-help" && m[1] != "help" {
				t.Errorf("%q: the hint names the command %q: %s", line, m[1], hint)
			}
			has = append(has, flagsOf(m[1])...)
		}
		for _, m := range flagWord.FindAllStringSubmatch(hint, -1) {
			if !slices.Contains(has, m[1]) {
				t.Errorf("%q: the hint names -%s: %s", line, m[1], hint)
			}
		}
	}
}

// The help of a command names its flags and no others.
func TestHelpNamesTheFlags(t *testing.T) {
	var common bytes.Buffer
	if err := printHelp(&common, nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range listCommands() {
		if !strings.Contains(common.String(), c.usageLine()+"\n") {
			t.Errorf("the help leaves out %s", c.name)
		}
		for _, args := range [][]string{{"help", c.name}, {c.name, "-h"}, {c.name, "--help"}} {
			status, text, stderr := runInProfile(t, "nowhere", args...)
			if status != 0 || !strings.HasPrefix(text, "usage: "+c.usageLine()+"\n") {
				t.Errorf("%q: status %d, %s%s", args, status, text, stderr)
			}
		}
		var b bytes.Buffer
		if err := printHelp(&b, []string{c.name}); err != nil {
			t.Fatal(err)
		}
		own := flagsOf(c.name)
		for _, m := range regexp.MustCompile(`(?m)(?:^|[\s\[])-([a-z][a-z-]*)`).FindAllStringSubmatch(b.String(), -1) {
			if !slices.Contains(own, m[1]) && m[1] != "help" {
				t.Errorf("the help of %s names -%s", c.name, m[1])
			}
		}
		fs := newFlagSet()
		var o options
		if c.flags != nil {
			c.flags(&o, fs)
		}
		fs.VisitAll(func(f *flag.Flag) {
			if !strings.Contains(c.args, "-"+f.Name) {
				t.Errorf("the usage of %s leaves out -%s", c.name, f.Name)
			}
		})
	}
	for _, name := range flagsOf("version") {
		if !strings.Contains(common.String(), fmt.Sprintf("  -%s", name)) {
			t.Errorf("the help leaves out -%s", name)
		}
	}
}
