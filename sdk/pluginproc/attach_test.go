package pluginproc

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
	"github.com/cwtch-relay/cwtch-relay/sdk/unixsocket"
)

// seqPlugin is a stats plugin that makes a file named after each sequence number.
var seqPlugin = plugin.Plugin{
	Name: "seqs", Version: "1",
	Stats: func(_ context.Context, cfg plugin.Config) (stats.Exporter, error) { return seqExporter(cfg.Dir), nil },
}

type seqExporter string

func (dir seqExporter) Export(_ context.Context, s stats.Snapshot) error {
	return os.WriteFile(filepath.Join(string(dir), fmt.Sprint(s.Seq)), nil, 0o600)
}

func (dir seqExporter) ForceFlush(context.Context) error { return nil }

func (dir seqExporter) Close() error {
	return os.WriteFile(filepath.Join(string(dir), "closed"), nil, 0o600)
}

// reportPlugin is a peersync plugin that reports its start.
var reportPlugin = plugin.Plugin{
	Name: "reporter", Version: "1",
	PeerSync: func(_ context.Context, _ plugin.Config, h peersync.HostServices) (peersync.Replicator, error) {
		return reportingReplicator{h}, nil
	},
}

type reportingReplicator struct{ host peersync.HostServices }

func (r reportingReplicator) Handle(ctx context.Context, _ []peersync.Event) error {
	return r.host.Report(ctx, peersync.Report{Summary: "started"})
}

func (reportingReplicator) Close() error { return nil }

// reportsHost is a host that passes summaries on.
type reportsHost struct {
	peersync.HostServices
	summaries chan string
}

func (r reportsHost) Report(_ context.Context, report peersync.Report) error {
	r.summaries <- report.Summary
	return nil
}

// startDebug starts this binary with "debug" and returns what it printed.
func startDebug(t *testing.T, name string) (*exec.Cmd, string) { return startDebugAs(t, name, nil) }

// startDebugAs does the same as another user.
func startDebugAs(t *testing.T, name string, user *syscall.Credential) (*exec.Cmd, string) {
	t.Helper()
	var log bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "debug")
	cmd.Env = []string{"TEST_PLUGIN=" + name, "TMPDIR=" + os.TempDir(), "PLUGIN_CLIENT_CERT=of somebody", "PLUGIN_PROTOCOL_VERSIONS=9"}
	cmd.Stderr = &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: user}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %s", err, &log)
	}
	value, ok := strings.CutPrefix(strings.TrimSpace(line), EnvReattach+"='")
	if !ok || !strings.HasSuffix(value, "'") {
		t.Fatalf("printed %q", line)
	}
	return cmd, strings.TrimSuffix(value, "'")
}

func TestAttach(t *testing.T) {
	cmd, value := startDebug(t, "seqs")
	plugins, err := Attachments(value)
	cfg, ok := plugins["stats/seqs"]
	if err != nil || !ok || cfg.PID != cmd.Process.Pid {
		t.Fatalf("%v, %v out of %s", plugins, err, value)
	}
	if info, err := os.Stat(filepath.Dir(cfg.Socket)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory of the socket: %v, %v", info.Mode(), err)
	}
	dir := t.TempDir()
	epoch := stats.NewEpoch()
	for life := range uint64(2) { // one relay after the other
		a, err := Attach(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := a.Client().Describe(t.Context()); err != nil || d.Name != "seqs" || d.Kind != plugin.KindStats {
			t.Errorf("described %v, %v", d, err)
		}
		if err := a.Client().Configure(t.Context(), nil, dir); err != nil {
			t.Fatal(err)
		}
		exporter := a.Client().Stats()
		if err := exporter.Export(t.Context(), stats.Snapshot{Epoch: epoch, Seq: life + 1}); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(dir, fmt.Sprint(life+1))); err != nil {
			t.Error(err)
		}
		if err := exporter.Close(); err != nil {
			t.Error(err)
		}
		if err := os.Remove(filepath.Join(dir, "closed")); err != nil {
			t.Error(err)
		}
		a.Stop(t.Context())
		<-a.Exited()
		if err := exporter.Export(t.Context(), stats.Snapshot{Epoch: epoch, Seq: 9}); err == nil {
			t.Error("exported over a closed connection")
		}
	}

	a, err := Attach(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Kill()
	if err := a.Client().Configure(t.Context(), nil, dir); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-a.Exited()
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "closed")); err != nil {
		t.Errorf("ended by a signal without closing: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(cfg.Socket)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left its directory: %v", err)
	}
	if err := a.Client().Stats().ForceFlush(t.Context()); !errors.Is(err, stats.ErrUnavailable) {
		t.Errorf("a call to a process that has ended: %v", err)
	}
}

func TestAttachToPeerSync(t *testing.T) {
	cmd, value := startDebug(t, "reporter")
	plugins, err := Attachments(value)
	if err != nil {
		t.Fatal(err)
	}
	a, err := Attach(t.Context(), plugins["peersync/reporter"])
	if err != nil {
		t.Fatal(err)
	}
	defer a.Kill()
	summaries := make(chan string, 1)
	a.Client().ServeHost(reportsHost{summaries: summaries})
	if err := a.Client().Configure(t.Context(), nil, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if err := a.Client().PeerSync().Handle(t.Context(), []peersync.Event{peersync.Start{}}); err != nil {
		t.Fatal(err)
	}
	if got := <-summaries; got != "started" {
		t.Errorf("reported %q", got)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-a.Exited()
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestAttachFailsWhereNobodyListens(t *testing.T) {
	if _, err := Attach(t.Context(), AttachConfig{Socket: filepath.Join(t.TempDir(), "none"), PID: 1, Protocol: 1}); err == nil {
		t.Error("attached to nothing")
	}
}

// TestAttachRefusesProcessOfAnotherUser: once a plugin and its directory are gone, another user
// can make a directory of that name and listen there.
func TestAttachRefusesProcessOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can start processes of others")
	}
	cmd, value := startDebugAs(t, "seqs", &syscall.Credential{Uid: 65534, Gid: 65534})
	defer func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	}()
	attachments, err := Attachments(value)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Attach(t.Context(), attachments["stats/seqs"]); err == nil || !strings.Contains(err.Error(), "belongs to user 65534") {
		t.Errorf("got %v", err)
	}
}

// TestAttachEndsWithItsContext lets go-plugin wait for a socket that never answers.
func TestAttachEndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "silent")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	closed := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			closed <- err
			return
		}
		cancel(errors.New("enough"))
		defer conn.Close()
		for err == nil {
			_, err = conn.Read(make([]byte, 64))
		}
		closed <- nil
	}()
	if _, err := Attach(ctx, AttachConfig{Socket: path, PID: 1, Protocol: 1}); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("got %v", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestAttachments(t *testing.T) {
	if got, err := Attachments(""); got != nil || err != nil {
		t.Errorf("nothing gave %v, %v", got, err)
	}
	got, err := Attachments(`{"storage/a":{"pid":1,"socket":"/a","protocol":1},"stats/b":{"pid":2,"socket":"/b","protocol":1}}`)
	if err != nil || len(got) != 2 || got["storage/a"] != (AttachConfig{Socket: "/a", PID: 1, Protocol: 1}) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range hostileAttachments {
		if got, err := Attachments(bad); err == nil || !strings.Contains(err.Error(), EnvReattach) {
			t.Errorf("%.80q gave %v, %v", bad, got, err)
		}
	}
}

var hostileAttachments = []string{
	"x", "[]", "1", `{"storage/a":{}}`, `{"storage/a":{"pid":1,"socket":"/a","protocol":1}} {}`,
	`{"a":{"pid":1,"socket":"/a","protocol":1}}`, `{"storage/":{"pid":1,"socket":"/a","protocol":1}}`,
	`{"door/a":{"pid":1,"socket":"/a","protocol":1}}`, `{"storage/a/b":{"pid":1,"socket":"/a","protocol":1}}`,
	`{"storage/a":{"pid":0,"socket":"/a","protocol":1}}`, `{"storage/a":{"pid":1,"socket":"a","protocol":1}}`,
	`{"storage/a":{"pid":1,"socket":"@a","protocol":1}}`, `{"storage/a":{"pid":1,"socket":"/a\u0000b","protocol":1}}`,
	`{"storage/a":{"pid":1,"socket":"/` + strings.Repeat("a", unixsocket.MaxPath) + `","protocol":1}}`,
	`{"storage/a":{"pid":1,"socket":"/a","protocol":2}}`, `{"storage/a":{"pid":1,"socket":"/a","protocol":1,"tls":true}}`,
	strings.Repeat(" ", maxAttachments+1),
}

func FuzzAttachments(f *testing.F) {
	f.Add(`{"storage/a":{"pid":1,"socket":"/a","protocol":1}}`)
	for _, s := range hostileAttachments[:len(hostileAttachments)-1] {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, env string) {
		got, err := Attachments(env)
		if err != nil && len(err.Error()) > 1<<10 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
		for name, a := range got {
			if !strings.Contains(name, "/") || !filepath.IsAbs(a.Socket) || a.PID < 1 {
				t.Errorf("%q: %v", name, a)
			}
		}
	})
}
