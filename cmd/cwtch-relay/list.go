package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// listedPlugin is a plugin that a configuration can use.
type listedPlugin struct {
	Kind         plugin.Kind         `json:"kind"`
	Name         string              `json:"name"`
	Version      string              `json:"version,omitempty"`
	Protocols    []int               `json:"protocols,omitempty"`
	Capabilities []plugin.Capability `json:"capabilities,omitempty"`
	Path         string              `json:"path,omitempty"`     // absent: built in
	Checksum     string              `json:"checksum,omitempty"` // that the configuration demands
	Problem      string              `json:"problem,omitempty"`  // why it cannot be used
	Uses         []pluginUse         `json:"uses,omitempty"`
}

// pluginUse is a server that has the plugin in its configuration.
type pluginUse struct {
	Server string `json:"server"`
	State  string `json:"state"` // of the process, or "not running"
}

// listPlugins prints the built-in plugins and, with a configuration, those that it
// declares and where each is used.
func listPlugins(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	f, err := readFlags(c, stderr)
	if missing := (*config.NotFoundError)(nil); err != nil && !errors.As(err, &missing) {
		return err
	}
	var list []listedPlugin
	for _, d := range builtInDescriptions() {
		list = append(list, rowOf(d))
	}
	if f.config != "" {
		cfg, err := loadConfig(ctx, f.config)
		if err != nil {
			return err
		}
		if list, err = addConfigured(ctx, list, cfg); err != nil {
			return err
		}
	}
	if f.JSON {
		return command.PrintJSON(stdout, list)
	}
	return writePlugins(stdout, list)
}

func rowOf(d plugin.Description) listedPlugin {
	return listedPlugin{Kind: d.Kind, Name: d.Name, Version: d.Version, Protocols: d.Protocols, Capabilities: d.Capabilities}
}

// addConfigured adds the plugins that a configuration declares, and the uses of all.
func addConfigured(ctx context.Context, list []listedPlugin, cfg *loadedConfig) ([]listedPlugin, error) {
	for _, x := range cfg.Plugins {
		row := listedPlugin{Kind: x.Kind, Name: x.Name}
		p, err := cfg.catalog.Declare(programOf(x))
		if err != nil {
			return nil, err
		}
		if d, err := p.Describe(ctx); err != nil {
			row.Problem = err.Error()
		} else {
			row = rowOf(d)
		}
		row.Path, row.Checksum = x.Path, x.Checksum
		list = append(list, row)
	}
	running, err := manager.AskStatus(ctx, cfg.DataDir)
	if err != nil && !errors.Is(err, manager.ErrNotRunning) {
		return nil, err
	}
	for _, s := range cfg.Servers {
		for use := range s.Plugins() {
			for i := range list {
				if row := &list[i]; row.Kind == use.Kind && row.Name == use.Name {
					row.Uses = append(row.Uses, pluginUse{s.Name, describeUse(running, s, use)})
				}
			}
		}
	}
	return list, nil
}

// describeUse is the state of the plugin process of a server.
func describeUse(running manager.Status, s config.Server, use *config.PluginUse) string {
	for _, r := range running.Servers {
		if r.Name != s.Name {
			continue
		}
		if use.Kind == plugin.KindStorage && r.Storage.Name == use.Name {
			return r.Storage.State.String()
		}
		for _, p := range r.Others {
			if p.Kind == use.Kind && p.Instance == use.Instance {
				return p.State.String()
			}
		}
	}
	return "not running"
}

func writePlugins(out io.Writer, list []listedPlugin) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PLUGIN\tVERSION\tPROTOCOL\tCAPABILITIES\tSTATE\tPROGRAM")
	for _, p := range list {
		program := "built in"
		if p.Path != "" {
			program = p.Path
			if p.Checksum != "" {
				program += " " + p.Checksum
			} else {
				program += " (any checksum)"
			}
		}
		var states []string
		for _, u := range p.Uses {
			states = append(states, u.Server+": "+u.State)
		}
		state := strings.Join(states, ", ")
		if state == "" {
			state = "not used"
		}
		fmt.Fprintf(w, "%s/%s\t%s\t%s\t%s\t%s\t%s\n", p.Kind, p.Name, p.Version, command.Join(p.Protocols), command.Join(p.Capabilities), state, program)
		if p.Problem != "" {
			fmt.Fprintf(w, "  cannot be used: %s\n", p.Problem)
		}
	}
	return w.Flush()
}
