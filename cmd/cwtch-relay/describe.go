package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// describePlugin prints what a plugin says of itself. It is for an operator who was given
// a binary: it needs no configuration and no running relay.
func describePlugin(ctx context.Context, c *cli.Command, stdout, _ io.Writer) error {
	granted, err := command.ReadGrants(c)
	if err != nil {
		return err
	}
	origin := "built in"
	d, ok := builtinNamed(c.Args().First())
	if !ok {
		if origin, err = command.CheckPath(c.Args().First()); err != nil {
			return err
		}
		p, err := granted.Program(origin)
		if err != nil {
			return err
		}
		if d, err = p.Describe(ctx); err != nil {
			return err
		}
	}
	if c.Bool("json") {
		return command.PrintJSON(stdout, d)
	}
	return writeDescription(stdout, d, origin)
}

// builtinNamed finds a built-in plugin by KIND/NAME.
func builtinNamed(name string) (plugin.Description, bool) {
	for _, d := range builtInDescriptions() {
		if string(d.Kind)+"/"+d.Name == name {
			return d, true
		}
	}
	return plugin.Description{}, false
}

func writeDescription(w io.Writer, d plugin.Description, origin string) error {
	network := "does not ask for the network"
	if d.Network != "" {
		network = "asks for the network: " + d.Network
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s plugin %q, version %s, %s\n", d.Kind, d.Name, d.Version, origin)
	if d.Doc != "" {
		fmt.Fprintf(&b, "%s\n", d.Doc)
	}
	contract := strconv.Itoa(d.Contract)
	if err := d.CheckContract(); err != nil {
		contract += ": " + err.Error()
	}
	fmt.Fprintf(&b, "\nprotocol      %s\ncontract      %s\ncapabilities  %s\nsandbox       %s\n", command.Join(d.Protocols), contract, command.Join(d.Capabilities), network)
	fmt.Fprintf(&b, "\nIn a server of the configuration:\n\n%s", indentText(config.Sample(d)))
	_, err := io.WriteString(w, b.String())
	return err
}

func indentText(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			b.WriteString("  ")
		}
		b.WriteString(line)
	}
	return b.String()
}
