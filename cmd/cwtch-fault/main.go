// Command cwtch-fault injects faults between a relay and a plugin, as a seed decides. A
// relay starts it in place of the plugin:
//
//	plugin "storage" "faulty_diary" {
//	  path = "/usr/local/bin/cwtch-fault"
//	  args = ["-seed", "7", "-after", "20", "-mix", "all=0.05", "--", "/opt/cwtch-storage-diary"]
//	  dev  = true
//	  sandbox { enabled = false }
//	}
//
// Package plugins/fault describes the faults.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"

	"google.golang.org/grpc"

	"github.com/cwtch-relay/cwtch-relay/plugins/fault"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

func main() {
	plugin.ServeInterceptor(plugin.Interceptor{
		Name:  "fault",
		Usage: usage,
		Codec: fault.Codec,
		Open: func(ctx context.Context, log *slog.Logger) (grpc.StreamHandler, func(context.Context) error, error) {
			return startProxy(ctx, log, os.Args[1:])
		},
	})
}

const usage = `hint: write it in the configuration of the relay instead of the plugin NAME:

  plugin "storage" "faulty_NAME" {
    path = "/usr/local/bin/cwtch-fault"
    args = ["-seed", "7", "-after", "20", "-mix", "all=0.05", "--", "/path/of/the/plugin"]
    dev  = true
    sandbox { enabled = false }
  }

  -seed N   what goes wrong, and when, follows from it (default: 1)
  -after N  calls at the beginning that do not go wrong (default: 0)
  -mix MIX  shares of calls at which something goes wrong, such as
            all=0.05,hang=0,cut=0.1 (default: all=0.05); the faults are
            delay fail cut duplicate corrupt truncate huge hang crash
`

// startProxy starts the plugin behind the proxy.
func startProxy(ctx context.Context, log *slog.Logger, args []string) (grpc.StreamHandler, func(context.Context) error, error) {
	f := flag.NewFlagSet("cwtch-fault", flag.ContinueOnError)
	seed := f.Uint64("seed", 1, "")
	text := f.String("mix", "all=0.05", "")
	after := f.Int("after", 0, "") // calls that pass first
	if err := f.Parse(args); err != nil {
		return nil, nil, err
	}
	mix, err := fault.ParseMix(*text)
	if err == nil && f.NArg() == 0 {
		err = errors.New("no plugin given: the arguments end with -- and its path")
	}
	if err != nil {
		return nil, nil, err
	}
	if err := pathname.Check(f.Arg(0)); err != nil {
		return nil, nil, err
	}
	path, err := filepath.Abs(f.Arg(0))
	if err != nil {
		return nil, nil, err
	}
	process, err := pluginproc.Start(ctx, pluginproc.StartConfig{
		Command: pluginproc.Command{Path: path, Args: f.Args()[1:]},
		Logger:  log.With("behind", filepath.Base(path)),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("start %s: %w", path, err)
	}
	log.Info("standing between the relay and a plugin", "seed", *seed, "mix", *text)
	exit := func() {
		process.Kill()
		os.Exit(3)
	}
	var ending atomic.Bool
	go func() { // end with the plugin, as the relay expects of a plugin
		<-process.Exited()
		if ending.Load() {
			return
		}
		log.Error("the plugin behind has ended", "reason", process.ExitReason())
		os.Exit(4)
	}()
	proxy := &fault.Proxy{Plugin: process.Client().Conn(), Mix: mix, Seed: *seed, After: *after, Logger: log, Exit: exit}
	return proxy.Service(), func(ctx context.Context) error {
		ending.Store(true)
		process.Stop(ctx)
		return nil
	}, nil
}
