package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
)

// surroundings is what a command gets from its process.
type surroundings struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	terminal       bool // stderr is one
	getenv         func(string) string
}

// command is one of the things that cwtch-group does.
type command struct {
	name  string
	args  string // as usage shows them
	about string
	n     int // arguments beside flags
	flags func(*options, *flag.FlagSet)
	run   func(a *app, ctx context.Context, args []string) error
}

// commands is a function because the help lists them and is one of them.
func commands() []command {
	return []command{
		{"import-server", "server:…", "trust a server by its key bundle", 1, nil, (*app).importServer},
		{"create", `[-server ADDR] "NAME"`, "make a group on a server, named by its address or the beginning of it", 1, createFlags, (*app).create},
		{"invite", `[-with-server] "NAME"`, "print the invite to a group, which is as secret as the group", 1, inviteFlags, (*app).invite},
		{"join", `[-name NAME] torv3…|tofubundle:…`, "join a group; a tofubundle brings its server along", 1, joinFlags, (*app).join},
		{"post", `"NAME" "TEXT"`, "post to a group, buying tokens when there are none", 2, nil, (*app).post},
		{"read", `[-new] "NAME"`, "print all messages of a group, or those not printed yet", 1, readFlags, (*app).read},
		{"follow", `[-all] [-n N] [-timeout D] "NAME"`, "print messages not printed yet and then new ones, until ^C", 1, followFlags, (*app).follow},
		{"list", "", "print who you are, your servers and your groups", 0, nil, (*app).list},
		{"version", "", "print the version", 0, nil, (*app).version},
	}
}

// options is what flags and environment say. Those from server on belong to
// single commands.
type options struct {
	profile    string
	network    string
	torrc      string
	torControl string
	torUser    string
	torCookie  string
	json       bool
	quiet      bool

	server     string
	withServer bool
	name       string
	onlyNew    bool
	all        bool
	n          int
	timeout    time.Duration
}

func (o *options) common(fs *flag.FlagSet) {
	fs.StringVar(&o.profile, "profile", o.profile, "")
	fs.StringVar(&o.network, "network", o.network, "")
	fs.StringVar(&o.torrc, "torrc", o.torrc, "")
	fs.StringVar(&o.torControl, "tor-control", o.torControl, "")
	fs.StringVar(&o.torUser, "tor-control-user", o.torUser, "")
	fs.StringVar(&o.torCookie, "tor-control-cookie", o.torCookie, "")
	fs.BoolVar(&o.json, "json", o.json, "")
	fs.BoolVar(&o.quiet, "q", o.quiet, "")
}

func createFlags(o *options, fs *flag.FlagSet) { fs.StringVar(&o.server, "server", "", "") }
func inviteFlags(o *options, fs *flag.FlagSet) { fs.BoolVar(&o.withServer, "with-server", false, "") }
func joinFlags(o *options, fs *flag.FlagSet)   { fs.StringVar(&o.name, "name", "", "") }
func readFlags(o *options, fs *flag.FlagSet)   { fs.BoolVar(&o.onlyNew, "new", false, "") }

func followFlags(o *options, fs *flag.FlagSet) {
	fs.BoolVar(&o.all, "all", false, "")
	fs.IntVar(&o.n, "n", 0, "")
	fs.DurationVar(&o.timeout, "timeout", 0, "")
}

// app is one run of the program.
type app struct {
	surroundings
	options
	profile  *profile.Profile // nil for version
	progress *progress
	out      *bufio.Writer // stdout
}

// run runs one command line and returns the exit status.
func run(ctx context.Context, args []string, s surroundings) int {
	err := dispatch(ctx, args, s)
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		io.WriteString(s.stdout, usageText())
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(s.stderr, "error: %s\nhint: %s\n", oneLine(usage.text), usage.hint)
		return 2
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	fmt.Fprintf(s.stderr, "error: %s\n", oneLine(err.Error()))
	if h := hintFor(err); h != "" {
		fmt.Fprintf(s.stderr, "hint: %s\n", h)
	}
	return 1
}

func dispatch(ctx context.Context, args []string, s surroundings) error {
	o := options{
		profile: s.getenv("CWTCH_GROUP_PROFILE"),
		network: s.getenv("CWTCH_GROUP_NETWORK"),
		torrc:   s.getenv("CWTCH_GROUP_TORRC"),
	}
	front := newFlagSet()
	o.common(front)
	if err := front.Parse(args); err != nil {
		return flagError(err)
	}
	if front.NArg() == 0 {
		return usageError{"no command given", listHint}
	}
	name, args := front.Arg(0), front.Args()[1:]
	if name == "help" {
		return flag.ErrHelp
	}
	for _, c := range commands() {
		if c.name == name {
			return start(ctx, c, args, o, s)
		}
	}
	return usageError{fmt.Sprintf("unknown command %q", name), listHint}
}

// start parses the rest of the command line and runs c.
func start(ctx context.Context, c command, args []string, o options, s surroundings) error {
	fs := newFlagSet()
	a := &app{surroundings: s, options: o, out: bufio.NewWriter(s.stdout)}
	a.common(fs)
	if c.flags != nil {
		c.flags(&a.options, fs)
	}
	args, err := parseMixed(fs, args)
	if err != nil {
		return flagError(err)
	}
	usage := strings.TrimSpace("cwtch-group " + c.name + " " + c.args)
	if len(args) != c.n {
		return usageError{fmt.Sprintf("%s takes %d arguments and got %d", c.name, c.n, len(args)), "usage: " + usage}
	}
	a.progress = newProgress(s.stderr, s.terminal, a.quiet)
	if c.name != "version" {
		dir, err := a.profileDir()
		if err != nil {
			return err
		}
		if a.profile, err = profile.Open(dir); err != nil {
			return err
		}
	}
	err = c.run(a, ctx, args)
	a.progress.Done()
	if flushed := a.out.Flush(); err == nil && flushed != nil {
		err = fmt.Errorf("write output: %w", flushed)
	}
	return err
}

func newFlagSet() *flag.FlagSet {
	fs := flag.NewFlagSet("cwtch-group", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	return fs
}

// parseMixed parses flags that stand before, between and behind the arguments,
// and returns the arguments. What follows "--" is an argument whatever it looks
// like.
func parseMixed(fs *flag.FlagSet, args []string) (plain []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			return nil, err
		}
		rest := fs.Args()
		if n := len(args) - len(rest); n > 0 && args[n-1] == "--" || len(rest) == 0 {
			return append(plain, rest...), nil
		}
		plain, args = append(plain, rest[0]), rest[1:]
	}
}

func (a *app) profileDir() (string, error) {
	if a.options.profile != "" {
		return a.options.profile, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", hinted{fmt.Errorf("find profile: %w", err), "say where to keep it with -profile DIR"}
	}
	return filepath.Join(dir, "cwtch-group"), nil
}

// argument returns an argument, or standard input up to limit bytes for "-":
// arguments can be seen by everybody on the machine.
func (a *app) argument(arg string, limit int64) (string, error) {
	if arg != "-" {
		return arg, nil
	}
	b, err := io.ReadAll(io.LimitReader(a.stdin, limit+1))
	if err != nil {
		return "", fmt.Errorf("read standard input: %w", err)
	}
	if int64(len(b)) > limit {
		return "", fmt.Errorf("read standard input: more than %d bytes", limit)
	}
	return strings.TrimSpace(string(b)), nil
}

func usageText() string {
	var b strings.Builder
	b.WriteString("cwtch-group makes, joins, reads and follows Cwtch groups, and posts to them.\n\n")
	for _, c := range commands() {
		fmt.Fprintf(&b, "  cwtch-group %s\n        %s\n", strings.TrimSpace(c.name+" "+c.args), c.about)
	}
	b.WriteString(`
Flags of every command, with one dash or two, before or behind its arguments:

  -profile DIR        keep identity, servers, groups and tokens here
                      (CWTCH_GROUP_PROFILE; default: cwtch-group in the user's configuration directory)
  -network N          tor, or loopback:DIR for development (CWTCH_GROUP_NETWORK; default: tor)
  -torrc FILE         more lines for tor's configuration (CWTCH_GROUP_TORRC)
  -tor-control ADDR   use the tor that runs there, such as unix:/run/tor/control or 127.0.0.1:9051
  -tor-control-user USER
                      the user that this tor has, if it is neither you nor root, such as debian-tor
  -tor-control-cookie FILE
                      the file with its cookie, required with a port, such as /run/tor/control.authcookie
  -json               print facts and messages as JSON, one value a line
  -q                  show no progress

An argument "-" is read from standard input, which keeps invites and texts out of the list of
processes. A text that begins with a dash goes behind "--".

read replays all that the server keeps and prints the messages of the group; nothing is kept on this
machine but how far it got, which is where "read -new" and "follow" begin. A message that is not
signed by the member it names is printed as [unverified].
follow -n N ends after N messages; with -timeout it fails if they do not come in time.
`)
	return b.String()
}
