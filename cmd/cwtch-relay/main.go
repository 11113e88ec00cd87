// Command cwtch-relay hosts Cwtch servers: untrusted message boards behind Tor
// onion services.
//
//	cwtch-relay init -dir D                  write D/server.hcl, every option present and commented
//	cwtch-relay validate -config F           check a configuration without running it
//	cwtch-relay -config F                    run
//	cwtch-relay bundle -config F             print the text that clients import
//	cwtch-relay status -config F             ask the running relay how it is
//	cwtch-relay reload -config F             have it go over to a changed configuration
//	cwtch-relay storage copy -config F       copy what one store holds into another
//	cwtch-relay storage accept -config F     let a server go on with another store than its last
//	cwtch-relay plugin list|describe|sum|test|new
//	                                         what operators and authors of plugins need
//	cwtch-relay version
//
// Facts go to standard output, with -json as JSON; logs, errors and hints go to
// standard error. The exit status is 0, 1 after an error, 2 after wrong usage and 78
// when the configuration is wrong; status -check has those of a monitor.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"google.golang.org/grpc/grpclog"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/stdout"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

func main() {
	sandbox.Main()
	durable.PrivateUmask()
	if err := sandbox.ProtectMemory(); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
	// A plugin can have gRPC write a line to standard error for each frame it sends.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	out := stdout.New(os.Stdout)
	os.Exit(out.Status(runCommand(context.Background(), os.Args[1:], out, os.Stderr), os.Stderr))
}

// command is one of the things that cwtch-relay does.
type command struct {
	name  string // empty: what happens without the name of a command
	args  string // as usage shows them
	about string
	run   func(ctx context.Context, args []string, stdout, stderr io.Writer) error
}

// commands is a function because the help lists them and is one of them.
func commands() []command {
	return []command{
		{"", "-config FILE [-json]", "run the servers of a configuration until SIGTERM or ^C", runServe},
		{"init", "-dir DIR", "write DIR/server.hcl, every option present and commented", runInit},
		{"validate", "-config FILE [-json]", "check a configuration without running it", runValidate},
		{"bundle", "-config FILE [-server NAME] [-o FILE] [-json]", "print the text that clients import", printBundle},
		{"status", "-config FILE [-server NAME] [-v] [-check] [-json]", "ask the running relay how it is; with -check, one line and the exit status of a monitor: 0, 1, 2 or 3", printStatus},
		{"reload", "-config FILE [-dry-run] [-json]", "have the running relay go over to a changed configuration", runReload},
		{"plugin list", "[-config FILE] [-json]", "which plugins there are, and how they are", listPlugins},
		{"plugin describe", "PATH|KIND/NAME [GRANTS] [-json]", "what a plugin says of itself, and what its block may hold", describePlugin},
		{"plugin sum", "PATH [-json]", "print the line checksum = … for a plugin block", sumPlugin},
		{"plugin test", "PATH|KIND/NAME [-config BODY] [-invalid BODY] [-run REGEXP] [-trace] [-shows URL|FILE [-prefix TEXT]] [GRANTS] [-json]", "does a plugin keep the protocol and the contract of its kind? BODY is a file with what would stand in its block, or, for -invalid, what it has to refuse; FILE or URL is where a stats plugin shows its numbers; KIND/NAME is one that $CWTCH_REATTACH_PLUGINS names", testPlugin},
		{"plugin new", "KIND NAME [-lang go|python|node] [-dir DIR] [-module PATH] [-sdk DIR]", "write the first files of a plugin", newPlugin},
		{"storage copy", "-config FILE -from STORE -to STORE [-server NAME] [-json]", "copy what one store holds into another; a STORE is 'server \"NAME\"', 'server \"NAME\" storage \"PLUGIN\" { … }' or 'storage \"PLUGIN\" { … }'", copyStorage},
		{"storage accept", "-config FILE [-server NAME] [-json]", "let a server that refuses its store, as not the one it ran on last, go on with it", acceptStore},
		{"version", "[-json]", "print the version", printVersion},
	}
}

// usageError is wrong usage of the command line, exit status 2.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// hinted is an error with something to do about it.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }
func (h hinted) Hint() string  { return h.hint }

// exitStatus is the exit status of a command that has said why.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// Exit statuses beside 0. That of a wrong configuration, EX_CONFIG of sysexits.h,
// tells a service manager that another try would end the same way.
const (
	exitError  = 1
	exitUsage  = 2
	exitConfig = 78
)

func runCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := dispatchCommand(ctx, args, stdout, stderr)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usageText())
		return 0
	}
	return report(err, stderr)
}

// report says what went wrong, if anything did, and returns the exit status.
func report(err error, stderr io.Writer) int {
	var said exitStatus
	var usage usageError
	var wrongConfig *config.Error
	var answer *manager.RefusedError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &said):
		return int(said)
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "error: %s\nhint: cwtch-relay -help lists the commands\n", usage.text)
		return exitUsage
	case errors.Is(err, manager.ErrNoServer):
		fmt.Fprintf(stderr, "error: %v\n", err)
		return exitConfig
	case errors.As(err, &wrongConfig):
		fmt.Fprintln(stderr, wrongConfig) // it has its own errors, places and hints
		return exitConfig
	case errors.As(err, &answer) && strings.HasPrefix(answer.Text, "error: "):
		fmt.Fprintln(stderr, answer.Text) // so has this
		return exitConfig
	}
	fmt.Fprintf(stderr, "error: %v\n", err)
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		fmt.Fprintf(stderr, "hint: %s\n", h.Hint())
	}
	if errors.As(err, new(configFault)) {
		return exitConfig
	}
	return exitError
}

func dispatchCommand(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == pluginMode {
		return servePlugin(args[1:])
	}
	if len(args) == 0 {
		return usageError{"no configuration given"}
	}
	name := ""
	if !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	if name == "help" {
		return flag.ErrHelp
	}
	var family []string // commands of two words that begin with this one
	for _, c := range commands() {
		first, second, _ := strings.Cut(c.name, " ")
		switch {
		case c.name == name:
			return c.run(ctx, args, stdout, stderr)
		case first == name && len(args) > 0 && second == args[0]:
			return c.run(ctx, args[1:], stdout, stderr)
		case first == name:
			family = append(family, second)
		}
	}
	if len(family) > 0 {
		return usageError{fmt.Sprintf("%s is followed by one of: %s", name, strings.Join(family, ", "))}
	}
	return usageError{fmt.Sprintf("unknown command %q", name)}
}

func usageText() string {
	var b strings.Builder
	b.WriteString("cwtch-relay hosts Cwtch servers behind Tor onion services.\n\n")
	for _, c := range commands() {
		fmt.Fprintf(&b, "  cwtch-relay %s\n        %s\n", strings.TrimSpace(c.name+" "+c.args), c.about)
	}
	b.WriteString("\nGRANTS are what the sandbox block of the plugin would grant: -read PATH (any number of times), -network,\n" +
		"-processes; or -no-sandbox.\n")
	b.WriteString("\nStart with: cwtch-relay init -dir my-server\n")
	return b.String()
}

// flags is a set of flags whose mistakes are usage errors. Those with a
// configuration require -config.
type flags struct {
	*flag.FlagSet
	config string
	json   bool
}

func newFlags(withConfig bool) *flags {
	f := &flags{FlagSet: flag.NewFlagSet("cwtch-relay", flag.ContinueOnError)}
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	f.BoolVar(&f.json, "json", false, "")
	if withConfig {
		pathname.Var(f.FlagSet, &f.config, "config", "", "")
	}
	return f
}

func (f *flags) parseArgs(args []string) error {
	if _, err := f.parseWith(args); err != nil {
		return err
	}
	if f.Lookup("config") != nil && f.config == "" {
		return usageError{"no configuration given: say -config FILE"}
	}
	return nil
}

// path is a flag that is a path.
func (f *flags) path(name string) *string {
	p := new(string)
	pathname.Var(f.FlagSet, p, name, "", "")
	return p
}

// pathArgument returns an argument that is a path.
func pathArgument(arg string) (string, error) {
	if err := pathname.Check(arg); err != nil {
		return "", usageError{err.Error()}
	}
	return arg, nil
}

// parseWith takes arguments, which are called names, before, between and after
// the flags. A configuration is not required.
func (f *flags) parseWith(args []string, names ...string) (values []string, err error) {
	for {
		switch err := f.Parse(args); {
		case errors.Is(err, flag.ErrHelp):
			return nil, err
		case err != nil:
			return nil, usageError{err.Error()}
		case f.NArg() == 0 && len(values) < len(names):
			return nil, usageError{"missing: " + names[len(values)]}
		case f.NArg() == 0:
			return values, nil
		case len(values) == len(names):
			return nil, usageError{fmt.Sprintf("unexpected argument %q", f.Arg(0))}
		}
		values = append(values, f.Arg(0))
		args = f.Args()[1:]
	}
}
