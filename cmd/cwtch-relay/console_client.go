package main

import (
	"context"
	"fmt"
	"io"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
)

// consoleClient is what the command console new-client prints.
type consoleClient struct {
	Public  onion.ClientKey `json:"public"`  // for onion_clients
	Private string          `json:"private"` // for Tor Browser
}

// newConsoleClient draws the key of a client of the console's onion service and prints it. It
// keeps nothing.
func newConsoleClient(_ context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	var client consoleClient
	client.Public, client.Private = onion.NewClientKey()
	if c.Bool("json") {
		return command.PrintJSON(stdout, client)
	}
	if _, err := fmt.Fprintf(stdout, "public   %s\nprivate  %s\n", client.Public, client.Private); err != nil {
		return err
	}
	fmt.Fprintf(stderr, "For the configuration of the relay, which is restarted then:\n"+
		"  console {\n    onion         = true\n    onion_clients = [\"%s\"]\n  }\n"+
		"Tor Browser asks for the private key when it opens the address from: cwtch-relay console\n"+
		"It is kept nowhere else, so it is not shown again. Make one for each browser.\n", client.Public)
	return nil
}
