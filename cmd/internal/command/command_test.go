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

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// echo is a program whose commands print their name and arguments.
func echo(names ...string) *cli.Command {
	p := &cli.Command{Name: "echo", Usage: "say it again"}
	family := &cli.Command{Name: "plugin", Usage: "say more"}
	for _, name := range names {
		said := &cli.Command{
			Name: strings.TrimPrefix(name, "plugin "), ArgsUsage: "WORD", Usage: "say " + name, Description: "It says it once.",
			Flags: []cli.Flag{&cli.IntFlag{Name: "n", DefaultText: "1", Usage: "Say it `N` times."}, JSONFlag()},
			Action: Action(func(_ context.Context, c *cli.Command, stdout, _ io.Writer) error {
				_, err := fmt.Fprintf(stdout, "%s %v %t", name, c.Args().Slice(), c.Bool("json"))
				return err
			}),
		}
		switch {
		case name == "":
			p.Flags, p.Action = []cli.Flag{JSONFlag()}, said.Action
		case said.Name == name:
			p.Commands = append(p.Commands, said)
		default:
			family.Commands = append(family.Commands, said)
		}
	}
	if len(family.Commands) > 0 {
		p.Commands = append(p.Commands, family)
	}
	p.Commands = append(p.Commands, HelpCommand(), ManualCommand())
	return p
}

const initHelp = `Usage: echo init WORD [flags]

Say init.

It says it once.

Flags:
  -help
        Show this help. (true or false; default: false)
  -json
        Print facts as JSON, and an error as one JSON object with error and
        hint. (true or false; default: false)
  -n N
        Say it N times. (whole number; default: 1)
`

const echoHelp = `Usage: echo COMMAND [flags]

Say it again.

Commands:
  init  say init

This program:
  help  explain a command

echo COMMAND -help explains one command.

Flags:
  -help
        Show this help. (true or false; default: false)
`

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
		"init -- -json":      {several, 0, "init [-json] false", ""},
		"init -":             {several, 0, "init [-] false", ""},
		"plugin test x":      {several, 0, "plugin test [x] false", ""},
		"-json":              {append(several, ""), 0, " [] true", ""},
		"-json x":            {append(several, ""), 2, "", `{"error":"unknown command \"x\"","hint":"echo -help lists the commands"}` + "\n"},
		"":                   {several, 2, "", "error: no command given\nhint: echo -help lists the commands\n"},
		"dance":              {several, 2, "", "error: unknown command \"dance\"\nhint: echo -help lists the commands\n"},
		"dance -n 3":         {several, 2, "", "error: unknown command \"dance\"\nhint: echo -help lists the commands\n"},
		"inti x":             {several, 2, "", "error: unknown command \"inti\"\nhint: Did you mean \"init\"? echo -help lists the commands\n"},
		"plugni test":        {several, 2, "", "error: unknown command \"plugni\"\nhint: Did you mean \"plugin\"? echo -help lists the commands\n"},
		"plugin":             {several, 2, "", "error: plugin is followed by one of: list, test\nhint: echo plugin -help lists the commands\n"},
		"plugin -x test":     {several, 2, "", "error: plugin is followed by one of: list, test\nhint: echo plugin -help lists the commands\n"},
		"plugin tset":        {several, 2, "", "error: unknown command \"plugin tset\", only: list, test\nhint: Did you mean \"plugin test\"? echo plugin -help lists the commands\n"},
		"init -jsn x":        {several, 2, "", "error: flag provided but not defined: -jsn\nhint: Did you mean \"-json\"? echo init -help explains the command\n"},
		"init -n x y":        {several, 2, "", "error: invalid value \"x\" for flag -n: it has to be a whole number that is not too large\nhint: echo init -help explains the command\n"},
		"init -json=x y":     {several, 2, "", "error: invalid value \"x\" for flag -json: it has to be true or false\nhint: echo init -help explains the command\n"},
		"init":               {several, 2, "", "error: missing: WORD\nhint: echo init -help explains the command\n"},
		"init x y":           {several, 2, "", "error: unexpected argument \"y\"\nhint: echo init -help explains the command\n"},
		"help dance":         {several, 2, "", "error: there is no command \"dance\"\nhint: echo -help lists the commands\n"},
		"help":               {several[:1], 0, echoHelp, ""},
		"-help":              {several[:1], 0, echoHelp, ""},
		"-h":                 {several[:1], 0, echoHelp, ""},
		"help init":          {several, 0, initHelp, ""},
		"-help init":         {several, 0, initHelp, ""},
		"init -h":            {several, 0, initHelp, ""},
		"init x --help":      {several, 0, initHelp, ""},
	} {
		var stdout, stderr bytes.Buffer
		args := strings.Fields(line)
		err := Run(t.Context(), echo(c.names...), args, &stdout, &stderr)
		status := Report("echo", err, WantsJSON(args), &stderr)
		if status != c.status || stdout.String() != c.stdout || stderr.String() != c.stderr {
			t.Errorf("%q: status %d\n%s%s", line, status, &stdout, &stderr)
		}
	}
}

func TestCompletion(t *testing.T) {
	names := func(_ context.Context, c *cli.Command) { fmt.Fprintf(c.Writer, "server-%d\n", c.Int("n")) }
	for line, want := range map[string]string{
		"":             "init\tsay init\nplugin\tsay more\nhelp\texplain a command\n",
		"in":           "init\tsay init\n",
		"dance x":      "",
		"plugin l":     "list\tsay plugin list\n",
		"init -":       "-json\tPrint facts as JSON, and an error as one JSON object with error and hint.\n-n\tSay it N times.\n-help\tShow this help.\n",
		"init --j":     "--json\tPrint facts as JSON, and an error as one JSON object with error and hint.\n",
		"init -n":      "-n\tSay it N times.\n",
		"init -n 7 s":  "server-7\n",
		"init -n=8 s":  "server-8\n",
		"init -n x s":  "server-0\n",
		"init -n s":    "",
		"init -- s":    "server-0\n",
		"init -nope s": "server-0\n",
	} {
		p := echo("init", "plugin list")
		p.Command("init").ShellComplete = names
		words := strings.Split(line, " ")
		var stdout, stderr bytes.Buffer
		if err := Run(t.Context(), p, append([]string{completeName}, words...), &stdout, &stderr); err != nil || stderr.Len() > 0 {
			t.Errorf("%q: %v, %s", line, err, &stderr)
		}
		if stdout.String() != want {
			t.Errorf("%q: got\n%s\nwant\n%s", line, &stdout, want)
		}
	}
}

func TestManualHasEveryCommand(t *testing.T) {
	var page bytes.Buffer
	if err := Run(t.Context(), echo("init", "plugin list"), []string{"manual"}, &page, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{".TH \"ECHO\" \"1\"", "echo \\- say it again\n", ".B \"init WORD\"\nSay init.\n", ".B \"plugin list WORD\"\n", ".B \"\\-n N\"\nSay it N times. (whole number; default: 1)\n"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page lacks %q:\n%s", want, &page)
		}
	}
	if strings.Contains(page.String(), "manual") {
		t.Errorf("a hidden command is on the page:\n%s", &page)
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
		if status := Report("echo", c.err, false, &stderr); status != c.status || stderr.String() != c.stderr {
			t.Errorf("%s: status %d\n%s", name, status, &stderr)
		}
	}
}

func TestReportAsJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "body.hcl")
	if err := os.WriteFile(path, []byte("lei = 1\nlie = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, faulty := config.LoadBody(path, plugin.Schema{Attributes: []plugin.Attribute{{Name: "lie", Type: plugin.Bool}}})
	for name, c := range map[string]struct {
		err    error
		status int
		stderr string
	}{
		"nothing":       {nil, 0, ""},
		"said":          {ExitStatus(3), 3, ""},
		"error":         {errors.New("the disk is full"), 1, `{"error":"the disk is full"}`},
		"hint":          {WithHint(io.ErrShortWrite, "make room"), 1, `{"error":"short write","hint":"make room"}`},
		"usage":         {UsageError{Text: "no"}, 2, `{"error":"no","hint":"echo -help lists the commands"}`},
		"configuration": {faulty, 78, `{"error":"` + path + ` line 1, column 1: unknown option \"lei\"\n` + path + ` line 2, column 7: `},
	} {
		var stderr bytes.Buffer
		if status := Report("echo", c.err, true, &stderr); status != c.status || !strings.HasPrefix(stderr.String(), c.stderr) || strings.Count(stderr.String(), "\n") > 1 {
			t.Errorf("%s: status %d\n%s", name, status, &stderr)
		}
	}
}

func TestGrantsAreAPolicy(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	var g *Grants
	c := &cli.Command{Name: "grant", Flags: GrantFlags(), Action: Action(func(_ context.Context, c *cli.Command, _, _ io.Writer) (err error) {
		g, err = ReadGrants(c)
		return err
	})}
	if err := Run(t.Context(), c, []string{"-read", "lib", "-read", "a,b", "-sockets", "run", "-network", "-processes"}, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	p, err := g.Program("program")
	if err != nil || p.Path != filepath.Join(dir, "program") {
		t.Fatalf("%+v, %v", p, err)
	}
	if got := fmt.Sprintf("%+v", *p.Sandbox); !strings.Contains(got, "Read:["+dir+"/lib "+dir+"/a,b] Write:[] Sockets:["+dir+"/run]") || !strings.Contains(got, "Network:1 Processes:true") {
		t.Errorf("the policy is %s", got)
	}
	g.Unconfined = true
	if p, err := g.Program("program"); err != nil || p.Sandbox != nil {
		t.Errorf("%+v, %v", p, err)
	}
}
