package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// echo is a program whose commands print their name and arguments.
func echo(names ...string) Program {
	p := Program{Name: "echo", Intro: "echo says it again.", Trailer: "That is all."}
	for _, name := range names {
		p.Commands = append(p.Commands, Command{
			Name: name, Args: "[-json]", About: "says " + name,
			Run: func(_ context.Context, args []string, stdout, _ io.Writer) error {
				f := NewFlags()
				values, err := f.ParseArgs(args, "WORD")
				if err == nil {
					fmt.Fprintf(stdout, "%s %v %t", name, values, f.JSON)
				}
				return err
			},
		})
	}
	return p
}

func TestRunFindsTheCommand(t *testing.T) {
	several := []string{"init", "plugin list", "plugin test"}
	for line, c := range map[string]struct {
		names  []string
		status int
		stdout string
		stderr string
	}{
		"init x":             {several, 0, "init [x] false", ""},
		"init -json x":       {several, 0, "init [x] true", ""},
		"init x --json=true": {several, 0, "init [x] true", ""},
		"plugin test x":      {several, 0, "plugin test [x] false", ""},
		"-json x":            {append(several, ""), 0, " [x] true", ""},
		"":                   {several, 2, "", "error: no command given\nhint: echo -help lists the commands\n"},
		"-json":              {several, 2, "", "error: no command given\nhint: echo -help lists the commands\n"},
		"dance":              {several, 2, "", "error: unknown command \"dance\"\nhint: echo -help lists the commands\n"},
		"inti x":             {several, 2, "", "error: unknown command \"inti\"\nhint: Did you mean \"init\"? echo -help lists the commands\n"},
		"plugni test":        {several, 2, "", "error: unknown command \"plugni\"\nhint: Did you mean \"plugin\"? echo -help lists the commands\n"},
		"plugin":             {several, 2, "", "error: plugin is followed by one of: list, test\nhint: echo -help lists the commands\n"},
		"plugin tset":        {several, 2, "", "error: unknown command \"plugin tset\", only: list, test\nhint: Did you mean \"plugin test\"? echo -help lists the commands\n"},
		"init -jsn x":        {several, 2, "", "error: flag provided but not defined: -jsn\nhint: Did you mean \"-json\"? echo -help lists the commands\n"},
		"init":               {several, 2, "", "error: missing: WORD\nhint: echo -help lists the commands\n"},
		"init x y":           {several, 2, "", "error: unexpected argument \"y\"\nhint: echo -help lists the commands\n"},
		"help":               {several[:1], 0, "echo says it again.\n\n  echo init [-json]\n        says init\n\nThat is all.\n", ""},
		"-help":              {several[:1], 0, "echo says it again.\n\n  echo init [-json]\n        says init\n\nThat is all.\n", ""},
		"init x -h":          {several[:1], 0, "echo says it again.\n\n  echo init [-json]\n        says init\n\nThat is all.\n", ""},
	} {
		p := echo(c.names...)
		var stdout, stderr bytes.Buffer
		status := p.Report(p.Run(t.Context(), strings.Fields(line), &stdout, &stderr), &stdout, &stderr)
		if status != c.status || stdout.String() != c.stdout || stderr.String() != c.stderr {
			t.Errorf("%q: status %d\n%s%s", line, status, &stdout, &stderr)
		}
	}
}

func TestReport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "body.hcl")
	if err := os.WriteFile(path, []byte("lei = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, faulty := config.LoadBody(path, plugin.Schema{Attributes: []plugin.Attribute{{Name: "lie", Type: plugin.Bool}}})
	for name, c := range map[string]struct {
		err    error
		status int
		stderr string
	}{
		"nothing":       {nil, 0, ""},
		"said":          {fmt.Errorf("wrapped: %w", ExitStatus(3)), 3, ""},
		"error":         {errors.New("the disk is full"), 1, "error: the disk is full\n"},
		"hint":          {fmt.Errorf("write: %w", WithHint(io.ErrShortWrite, "make room")), 1, "error: write: short write\nhint: make room\n"},
		"usage":         {UsageError{Text: "no"}, 2, "error: no\nhint: echo -help lists the commands\n"},
		"configuration": {faulty, 78, "error: unknown option \"lei\"\n  on " + path + " line 1, column 1:\n  1: lei = 1\n  hint: Did you mean \"lie\"?\n"},
	} {
		var stderr bytes.Buffer
		if status := echo().Report(c.err, io.Discard, &stderr); status != c.status || stderr.String() != c.stderr {
			t.Errorf("%s: status %d\n%s", name, status, &stderr)
		}
	}
}

func TestGrantsAreAPolicy(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	f := NewFlags()
	g := f.Grants()
	if _, err := f.ParseArgs([]string{"-read", "lib", "-sockets", "run", "-network", "-processes"}); err != nil {
		t.Fatal(err)
	}
	p, err := g.Program("program")
	if err != nil || p.Path != filepath.Join(dir, "program") {
		t.Fatalf("%+v, %v", p, err)
	}
	if got := fmt.Sprintf("%+v", *p.Sandbox); !strings.Contains(got, "Read:["+dir+"/lib] Write:[] Sockets:["+dir+"/run]") || !strings.Contains(got, "Network:1 Processes:true") {
		t.Errorf("the policy is %s", got)
	}
	g.Unconfined = true
	if p, err := g.Program("program"); err != nil || p.Sandbox != nil {
		t.Errorf("%+v, %v", p, err)
	}
}
