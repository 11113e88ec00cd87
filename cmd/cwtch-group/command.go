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
	"time"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/cmd/internal/stdout"
	"github.com/cwtch-relay/cwtch-relay/cmd/internal/suggest"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
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
	more  string // what else its help says, a line each
	n     int    // arguments beside flags
	flags func(*options, *flag.FlagSet)
	run   func(a *app, ctx context.Context, args []string) error
}

// commands is a function because the help lists them and is one of them.
func commands() []command {
	return []command{
		{"init", "", "make a profile, which is a new identity", initHelp, 0, nil, (*app).initProfile},
		{"import-server", "server:…", "trust a server by its key bundle", "", 1, nil, (*app).importServer},
		{"create", `[-server ADDR] "NAME"`, "make a group on a server, named by its address or the beginning of it", "", 1, createFlags, (*app).runCreate},
		{"invite", `[-with-server] "NAME"`, "print the invite to a group, which is as secret as the group", inviteHelp, 1, inviteFlags, (*app).runInvite},
		{"join", `[-name NAME] torv3…|tofubundle:…`, "join a group; a tofubundle brings its server along", joinHelp, 1, joinFlags, (*app).runJoin},
		{"post", `"NAME" "TEXT"`, "post to a group, buying tokens when there are none", postHelp, 2, nil, (*app).runPost},
		{"read", `[-new] [-since WHEN] "NAME"`, "print all messages of a group, or those not printed yet", readHelp, 1, readFlags, (*app).runRead},
		{"follow", `[-all] [-n N] [-timeout D] "NAME"`, "print messages not printed yet and then new ones, until ^C", followHelp, 1, followFlags, (*app).runFollow},
		{"members", `"NAME"`, "print the members of a group whose messages you have read", membersHelp, 1, nil, (*app).members},
		{"nick", `"NAME" MEMBER "NICK"`, "choose what you call a member", nickHelp, 3, nil, (*app).nick},
		{"rename", `"NAME" "NEW"`, "choose what you call a group", renameHelp, 2, nil, (*app).rename},
		{"leave", `"NAME"`, "forget a group and its key", leaveHelp, 1, nil, (*app).leave},
		{"list", "", "print who you are, your servers and your groups", "", 0, nil, (*app).runList},
		{"version", "", "print the version", "", 0, nil, (*app).runVersion},
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
	since      string
	all        bool
	n          int
	timeout    time.Duration
}

func (o *options) addCommon(fs *flag.FlagSet) {
	pathname.Var(fs, &o.profile, "profile", o.profile, "")
	pathname.Var(fs, &o.network, "network", o.network, "")
	pathname.Var(fs, &o.torrc, "torrc", o.torrc, "")
	pathname.Var(fs, &o.torControl, "tor-control", o.torControl, "")
	fs.StringVar(&o.torUser, "tor-control-user", o.torUser, "")
	pathname.Var(fs, &o.torCookie, "tor-control-cookie", o.torCookie, "")
	fs.BoolVar(&o.json, "json", o.json, "")
	fs.BoolVar(&o.quiet, "q", o.quiet, "")
}

func createFlags(o *options, fs *flag.FlagSet) { fs.StringVar(&o.server, "server", "", "") }
func inviteFlags(o *options, fs *flag.FlagSet) { fs.BoolVar(&o.withServer, "with-server", false, "") }
func joinFlags(o *options, fs *flag.FlagSet)   { fs.StringVar(&o.name, "name", "", "") }

func readFlags(o *options, fs *flag.FlagSet) {
	fs.BoolVar(&o.onlyNew, "new", false, "")
	fs.StringVar(&o.since, "since", "", "")
}

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

// runCommand runs one command line and returns the exit status.
func runCommand(ctx context.Context, args []string, s surroundings) int {
	err := dispatchCommand(ctx, args, s)
	if err == nil {
		return 0
	}
	if out, ok := s.stdout.(*stdout.Writer); ok && out.Unread() {
		return 1
	}
	f := failureOf(ctx, err)
	f.print(s.stderr, wantsJSON(args))
	return f.Status
}

func dispatchCommand(ctx context.Context, args []string, s surroundings) error {
	o := options{
		profile: s.getenv("CWTCH_GROUP_PROFILE"),
		network: s.getenv("CWTCH_GROUP_NETWORK"),
		torrc:   s.getenv("CWTCH_GROUP_TORRC"),
	}
	for _, name := range []string{"CWTCH_GROUP_PROFILE", "CWTCH_GROUP_NETWORK", "CWTCH_GROUP_TORRC"} {
		if err := pathname.CheckAddress(s.getenv(name)); err != nil {
			return usageError{name + ": " + err.Error(), listHint}
		}
	}
	front := newFlagSet()
	o.addCommon(front)
	err := front.Parse(args)
	if err == nil {
		err = refuseEmpty(front)
	}
	if errors.Is(err, flag.ErrHelp) {
		return printHelp(s.stdout, nil)
	}
	if err != nil {
		return flagError(front, err)
	}
	if front.NArg() == 0 {
		return usageError{"no command given", listHint}
	}
	name, args := front.Arg(0), front.Args()[1:]
	if name == "help" {
		return printHelp(s.stdout, args)
	}
	c, err := findCommand(name)
	if err != nil {
		return err
	}
	return startCommand(ctx, c, args, o, s)
}

func findCommand(name string) (command, error) {
	var known []string
	for _, c := range commands() {
		if c.name == name {
			return c, nil
		}
		known = append(known, c.name)
	}
	return command{}, usageError{fmt.Sprintf("unknown command %q", name), suggest.Name("", name, known) + listHint}
}

// startCommand parses the rest of the command line and runs c.
func startCommand(ctx context.Context, c command, args []string, o options, s surroundings) error {
	fs := newFlagSet()
	a := &app{surroundings: s, options: o, out: bufio.NewWriter(s.stdout)}
	a.addCommon(fs)
	if c.flags != nil {
		c.flags(&a.options, fs)
	}
	args, err := parseMixed(fs, args)
	if err == nil {
		err = refuseEmpty(fs)
	}
	if errors.Is(err, flag.ErrHelp) {
		return printHelp(s.stdout, []string{c.name})
	}
	if err != nil {
		return flagError(fs, err)
	}
	if len(args) != c.n {
		return usageError{fmt.Sprintf("%s takes %d arguments and got %d", c.name, c.n, len(args)), "usage: " + c.usage()}
	}
	// A program that reads JSON has no use for progress; a person beside it has.
	a.progress = newProgress(s.stderr, s.terminal, a.quiet || a.json && !s.terminal)
	a.progress.json = a.json
	if c.name != "version" && c.name != "init" {
		if a.profile, err = a.openProfile(ctx); err != nil {
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

// refuseEmpty refuses flags that are there and say nothing, as those of a script
// whose variable is not set: -profile "" does not mean the default one.
func refuseEmpty(fs *flag.FlagSet) (err error) {
	fs.Visit(func(f *flag.Flag) {
		if f.Value.String() == "" {
			err = fmt.Errorf("flag -%s has an empty value", f.Name)
		}
	})
	return err
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
