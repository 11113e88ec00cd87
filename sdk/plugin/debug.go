package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	goplugin "github.com/hashicorp/go-plugin"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
)

// serveDebug serves a plugin that was started by hand, for example under a debugger, until a
// signal. It has neither TLS nor a lifeline, serves one relay after the other, and prints the
// line that tells a relay where it listens.
func serveDebug(p Plugin, out io.Writer) (err error) {
	setProcessName(p.Name)
	ignoreBrokenPipes()
	dir, err := os.MkdirTemp("", "cwtch-plugin-") // only this user can enter it
	if err != nil {
		return fmt.Errorf("make directory for the socket: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// go-plugin must not use what a relay's environment would hold.
	for _, name := range []string{"PLUGIN_CLIENT_CERT", "PLUGIN_UNIX_SOCKET_GROUP", "PLUGIN_MULTIPLEX_GRPC", "PLUGIN_PROTOCOL_VERSIONS"} {
		os.Unsetenv(name) //nolint:errcheck // fails only for invalid names
	}
	if err := os.Setenv(goplugin.EnvUnixSocketDir, dir); err != nil {
		return err
	}
	signalled, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	log := newLogger(os.Stderr, levelFromEnv())
	s := newServer(p, log)
	s.reusable = true
	config := serveConfig(&serverPlugin{server: s}, serverOptions(s))
	serving, end := context.WithCancel(context.Background())
	defer end()
	ready, ended := make(chan *goplugin.ReattachConfig, 1), make(chan struct{})
	config.Test = &goplugin.ServeTestConfig{Context: serving, ReattachConfigCh: ready, CloseCh: ended}
	go goplugin.Serve(config)
	select {
	case at := <-ready:
		fmt.Fprintln(out, reattachLine(s.description, at))
	case <-ended:
		return errors.New("no socket; the log says why")
	}
	select {
	case <-signalled.Done():
	case <-ended:
	}
	if shutDownInTime(s.shutDown, log) != 0 {
		err = errors.New("it could not be closed; the log says why")
	}
	end()
	<-ended
	return err
}

// reattachLine returns what to write before the command of a relay in a shell.
func reattachLine(d Description, at *goplugin.ReattachConfig) string {
	value, err := json.Marshal(map[string]rpc.Attachment{
		string(d.Kind) + "/" + d.Name: {PID: at.Pid, Socket: at.Addr.String(), Protocol: at.ProtocolVersion},
	})
	if err != nil {
		panic("plugin: " + err.Error()) // cannot happen: texts and numbers
	}
	return rpc.EnvReattach + "='" + strings.ReplaceAll(string(value), "'", `'\''`) + "'"
}
