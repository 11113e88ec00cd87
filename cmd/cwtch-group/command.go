package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/cmd/internal/stdout"
	"github.com/cwtch-relay/cwtch-relay/cmd/internal/suggest"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

// environment is what a command gets from its process.
type environment struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	terminal       bool // stderr is a terminal
	getenv         func(string) string
	waits          waits // the usual ones if zero
}

// command is a command of cwtch-group.
type command struct {
	name  string
	args  string // flags and arguments, for the usage line
	about string
	more  string // the rest of its help
	n     int    // number of arguments, without flags
	flags func(*options, *flag.FlagSet)
	run   func(a *app, ctx context.Context, args []string) error
}

// listCommands is a function and not a variable because the help, which commands
// print, lists them.
func listCommands() []command {
	return []command{
		{"init", "", "make a profile, and with it a new identity", initHelp, 0, nil, (*app).runInit},
		{"import-server", "server:…", "trust a server, by the key bundle that its operator gave you", "", 1, nil, (*app).runImportServer},
		{"create", `[-server ADDR] [-serverless -core-peer P …] "NAME"`, "make a group; ADDR is the address of the server or the beginning of it", createHelp, 1, createFlags, (*app).runCreate},
		{"invite", `[-with-server] "NAME"`, "print the invite to a group, which is as secret as the group itself", inviteHelp, 1, inviteFlags, (*app).runInvite},
		{"join", `[-name NAME] torv3…|tofubundle:…|serverless1:…`, "join a group; a tofubundle also adds its server", joinHelp, 1, joinFlags, (*app).runJoin},
		{"post", `"NAME" "TEXT"`, "post a text to a group, and buy tokens first if there are none", postHelp, 2, nil, (*app).runPost},
		{"read", `[-new] [-since WHEN] "NAME"`, "print all messages of a group, or those not printed yet", readHelp, 1, readFlags, (*app).runRead},
		{"follow", `[-all] [-n N] [-timeout D] "NAME"`, "print messages not printed yet, then new ones as they come, until ^C", followHelp, 1, followFlags, (*app).runFollow},
		{"members", `"NAME"`, "print the members of a group whose messages you have read", membersHelp, 1, nil, (*app).runMembers},
		{"nick", `"NAME" MEMBER "NICK"`, "give a member a nickname", nickHelp, 3, nil, (*app).runNick},
		{"peer list", `"NAME"`, "print the core peers of a server-less group, and when each was seen", peerListHelp, 1, nil, (*app).runPeerList},
		{"peer add", `"NAME" server:…|ADDR`, "add a core peer to a group that this profile made, and tell the members", peerHelp, 2, nil, (*app).runPeerAdd},
		{"peer remove", `"NAME" ADDR`, "remove a core peer from a group that this profile made, and tell the members", peerHelp, 2, nil, (*app).runPeerRemove},
		{"peer announce", `"NAME"`, "send the list of core peers to the members again", peerHelp, 1, nil, (*app).runPeerAnnounce},
		{"bot", `[-settle D] [-rate N] [-announce D] "NAME"`, "bring to each core peer what it lacks, and announce the core peers, until ^C", botHelp, 1, botFlags, (*app).runBot},
		{"local", `ADDR DIR|tor`, "reach a server that runs on this machine without Tor", localHelp, 2, nil, (*app).runLocal},
		{"rename", `"NAME" "NEW"`, "rename a group, for yourself only", renameHelp, 2, nil, (*app).runRename},
		{"leave", `"NAME"`, "forget a group and its key", leaveHelp, 1, nil, (*app).runLeave},
		{"list", "", "print your address, your servers and your groups", "", 0, nil, (*app).runList},
		{"version", "", "print the version", "", 0, nil, (*app).runVersion},
	}
}

// options are the values of flags and environment variables. Those from server on
// belong to single commands.
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
	serverless bool
	corePeers  []string
	withServer bool
	name       string
	onlyNew    bool
	since      string
	all        bool
	n          int
	timeout    time.Duration
	settle     time.Duration
	rate       int
	announce   time.Duration
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

func createFlags(o *options, fs *flag.FlagSet) {
	fs.StringVar(&o.server, "server", "", "")
	fs.BoolVar(&o.serverless, "serverless", false, "")
	fs.Var((*textList)(&o.corePeers), "core-peer", "")
}

// textList is a flag that can be given several times.
type textList []string

func (l *textList) String() string { return strings.Join(*l, " ") }
func (l *textList) Set(text string) error {
	*l = append(*l, text)
	return nil
}

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

func botFlags(o *options, fs *flag.FlagSet) {
	fs.DurationVar(&o.settle, "settle", 2*time.Minute, "")
	fs.IntVar(&o.rate, "rate", 600, "")
	fs.DurationVar(&o.announce, "announce", 24*time.Hour, "")
}

// app is one run of a command.
type app struct {
	environment
	options
	profile  *profile.Profile // nil for version
	waits    waits
	progress *progress
	out      *bufio.Writer // stdout
}

// runCommand runs one command line and returns the exit status.
func runCommand(ctx context.Context, args []string, s environment) int {
	err := dispatchCommand(ctx, args, s)
	if err == nil {
		return 0
	}
	if out, ok := s.stdout.(*stdout.Writer); ok && out.Unread() {
		return 1
	}
	f := failureOf(ctx, err)
	f.printTo(s.stderr, wantsJSON(args))
	return f.Status
}

func dispatchCommand(ctx context.Context, args []string, s environment) error {
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
	name, args = joinCommand(name, args)
	c, err := findCommand(name)
	if err != nil {
		return err
	}
	return startCommand(ctx, c, args, o, s)
}

// joinCommand takes the second word of a command that has two.
func joinCommand(name string, args []string) (string, []string) {
	if name == "peer" && len(args) > 0 {
		return name + " " + args[0], args[1:]
	}
	return name, args
}

func findCommand(name string) (command, error) {
	var known []string
	for _, c := range listCommands() {
		if c.name == name {
			return c, nil
		}
		known = append(known, c.name)
	}
	return command{}, usageError{fmt.Sprintf("unknown command %q", name), suggest.Name("", name, known) + listHint}
}

// startCommand parses the rest of the command line and runs c.
func startCommand(ctx context.Context, c command, args []string, o options, s environment) error {
	fs := newFlagSet()
	a := &app{environment: s, options: o, waits: s.waits, out: bufio.NewWriter(s.stdout)}
	if a.waits == (waits{}) {
		a.waits = defaultWaits
	}
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
		return usageError{fmt.Sprintf("%s takes %s, not %d", c.name, pluralOf(c.n, "argument"), len(args)), "usage: " + c.usageLine()}
	}
	// A program that reads JSON has no use for progress, but a person at its terminal
	// does.
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

// parseMixed parses flags before, between and after the arguments, and returns the
// arguments. Everything after "--" is an argument.
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

// refuseEmpty refuses flags with an empty value, such as those of a script whose
// variable is not set: -profile "" does not mean the default profile.
func refuseEmpty(fs *flag.FlagSet) (err error) {
	fs.Visit(func(f *flag.Flag) {
		if f.Value.String() == "" {
			err = fmt.Errorf("flag -%s has an empty value", f.Name)
		}
	})
	return err
}
