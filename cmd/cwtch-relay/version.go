package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// version is the release this tree leads to.
const version = "0.1.0"

// versionInfo tells what this binary was made of.
type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of the source; "+" marks changes on top
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func currentVersion() versionInfo {
	v := versionInfo{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
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

func printVersion(_ context.Context, args []string, stdout, _ io.Writer) error {
	f := newFlags(false)
	if err := f.parseArgs(args); err != nil {
		return err
	}
	v := currentVersion()
	if f.json {
		return printJSON(stdout, v)
	}
	revision := ""
	if v.Revision != "" {
		revision = " " + v.Revision
	}
	_, err := fmt.Fprintf(stdout, "cwtch-relay %s%s (%s, %s)\n", v.Version, revision, v.Go, v.Platform)
	return err
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
