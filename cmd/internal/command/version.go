package command

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v3"
)

// Version is the release this tree leads to.
const Version = "0.1.0"

// versionInfo tells what the running binary was made of.
type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of the source; "+" marks changes on top
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func currentVersion() versionInfo {
	v := versionInfo{Version: Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			v.Revision = s.Value[:min(12, len(s.Value))] + v.Revision
		case s.Key == "vcs.modified" && s.Value == "true":
			v.Revision += "+"
		}
	}
	return v
}

// VersionCommand is the command version of a program.
func VersionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "print the version", Category: categoryOwn, Flags: []cli.Flag{JSONFlag()},
		Action: Action(printVersion),
	}
}

func printVersion(_ context.Context, c *cli.Command, stdout, _ io.Writer) error {
	v := currentVersion()
	if c.Bool("json") {
		return PrintJSON(stdout, v)
	}
	revision := ""
	if v.Revision != "" {
		revision = " " + v.Revision
	}
	_, err := fmt.Fprintf(stdout, "%s %s%s (%s, %s)\n", c.Root().Name, v.Version, revision, v.Go, v.Platform)
	return err
}
