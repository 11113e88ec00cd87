package supervise

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// reconfigured is a supervised plugin whose configuration a test changes.
type reconfigured struct {
	*supervised
	ready chan int
}

func startReconfigured(t *testing.T, modes ...string) *reconfigured {
	r := &reconfigured{ready: make(chan int, 64)}
	r.supervised = startSupervised(t, func(c *setup) { c.OnReady = func(n int) { r.ready <- n } }, modes...)
	return r
}

// withValue returns the configuration with another value.
func (r *reconfigured) withValue(config map[string]any) Config {
	c := r.cfg
	c.Value = encodeValue(r.t, config)
	return c
}

// mustServe checks which configuration is in use, by its tokens, and which incarnations
// OnReady has announced since the last check.
func (r *reconfigured) mustServe(tokens uint64, incarnations ...int) {
	r.t.Helper()
	info, err := r.Storage().Info(r.ctx())
	if err != nil || info.Tokens != tokens {
		r.t.Fatalf("info: %+v, %v, want %d tokens", info, err, tokens)
	}
	for _, want := range incarnations {
		if got := <-r.ready; got != want {
			r.t.Fatalf("OnReady was called with %d, want %d", got, want)
		}
	}
	if n := len(r.ready); n > 0 {
		r.t.Fatalf("OnReady was called %d times more", n)
	}
}

func TestReconfigureTheSameProcess(t *testing.T) {
	r := startReconfigured(t, "good")
	r.mustBeReady()
	r.mustServe(0, 1)
	watching := make(chan error, 1)
	watcher, _ := storage.As[storage.Watcher](r.Storage())
	go func() {
		_, err := watcher.Watch(r.ctx(), 100)
		watching <- err
	}()
	life := r.nextProcess()
	r.mustSay(life, "watching")
	if err := r.Reconfigure(r.ctx(), r.withValue(map[string]any{"tokens": 3})); err != nil {
		t.Fatal(err)
	}
	r.mustServe(3, 2)
	if s := r.Status(); s.PID != life.pid || s.State != Ready || s.Incarnation != 2 || s.Restarts != 0 {
		t.Errorf("status %+v, the process was %d", s, life.pid)
	}
	if err := <-watching; !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("watch of the store that was: %v", err)
	}
	if err := r.Reconfigure(r.ctx(), r.withValue(map[string]any{"tokens": 3})); err != nil {
		t.Fatal(err)
	}
	r.mustServe(3)
}

func TestReconfigureWithAnotherProcess(t *testing.T) {
	r := startReconfigured(t, "good")
	r.mustBeReady()
	r.mustServe(0, 1)
	first := r.nextProcess()
	next := r.withValue(map[string]any{"tokens": 3})
	next.Checksum = "sha256:00"
	next.Command = withEnv(next.Command, "ANOTHER=1")
	if err := r.Reconfigure(r.ctx(), next); err != nil {
		t.Fatal(err)
	}
	r.mustSay(first, "closed")
	r.mustEnd(first)
	r.mustServe(3, 2)
	if s := r.Status(); s.PID == first.pid || s.Restarts != 0 || s.Checksum != "sha256:00" {
		t.Errorf("status %+v", s)
	}
}

// withEnv returns command with one more variable.
func withEnv(command func() (pluginproc.Command, error), variable string) func() (pluginproc.Command, error) {
	return func() (pluginproc.Command, error) {
		c, err := command()
		c.Env = append(c.Env, variable)
		return c, err
	}
}

// TestReconfigureToAnotherStore shows that Admit is asked about a store that a plugin opens
// with another configuration, in the same process and in another one.
func TestReconfigureToAnotherStore(t *testing.T) {
	for name, alter := range map[string]func(*Config){
		"same process":    func(*Config) {},
		"another process": func(c *Config) { c.Command = withEnv(c.Command, "ANOTHER=1") },
	} {
		t.Run(name, func(t *testing.T) {
			ready := make(chan int, 64)
			r := startSupervised(t, func(c *setup) {
				c.OnReady = func(n int) { ready <- n }
				c.Admit = func(ctx context.Context, client *host.Client, tried bool) error {
					info, err := client.Storage().Info(ctx)
					if another := info.Tokens != 0; another != tried {
						t.Errorf("a store with %d tokens, tried: %v", info.Tokens, tried)
					}
					if err == nil && info.Tokens != 0 {
						err = errors.New("another store")
					}
					return err
				}
			}, "good", "good", "good")
			r.mustBeReady()
			<-ready
			cfg := r.cfg
			cfg.Value = encodeValue(t, map[string]any{"tokens": 3})
			alter(&cfg)
			if err := r.Reconfigure(r.ctx(), cfg); err == nil || !strings.Contains(err.Error(), "another store") {
				t.Errorf("reconfigured: %v", err)
			}
			r.mustBeReady()
			if info, err := r.Storage().Info(r.ctx()); err != nil || info.Tokens != 0 {
				t.Errorf("after it went back: %+v, %v", info, err)
			}
			if n := <-ready; n != 3 { // not 2, which was the other store
				t.Errorf("incarnation %d was announced", n)
			}
		})
	}
}

// TestReplacedBinaryIsAnotherCommand shows that the same path with another file is another
// command.
func TestReplacedBinaryIsAnotherCommand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plugin")
	install := func() {
		t.Helper()
		data, err := os.ReadFile("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.WriteFile(path+".new", data, 0o755), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
	}
	install()
	r := startSupervised(t, func(c *setup) {
		command := c.Command
		c.Command = func() (pluginproc.Command, error) {
			cmd, err := command()
			if err != nil {
				return cmd, err
			}
			cmd.File, err = os.Open(path)
			return cmd, err
		}
	}, "good")
	r.mustBeReady()
	mustBe := func(incarnation int) {
		t.Helper()
		if err := r.Reconfigure(r.ctx(), r.cfg); err != nil {
			t.Fatal(err)
		}
		if s := r.Status(); s.Incarnation != incarnation {
			t.Errorf("incarnation %d, want %d", s.Incarnation, incarnation)
		}
	}
	mustBe(1)
	install()
	mustBe(2)
}

func TestFailedReconfigureGoesBack(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Config, *testing.T)
		want   string
	}{
		"refused": {func(c *Config, t *testing.T) { c.Value = encodeValue(t, map[string]any{"refuse": "That is wrong"}) }, "That is wrong"},
		"crashed": {func(c *Config, t *testing.T) { c.Value = encodeValue(t, map[string]any{"crash": true}) }, "exit status 6"},
		"no binary": {func(c *Config, _ *testing.T) {
			c.Command = func() (pluginproc.Command, error) { return pluginproc.Command{}, os.ErrNotExist }
		}, "does not exist"},
		"no start": {func(c *Config, _ *testing.T) {
			c.Command = func() (pluginproc.Command, error) {
				return pluginproc.Command{Path: "/proc/self/exe", Env: []string{envMode + "=exit"}}, nil
			}
		}, "told to exit"},
	} {
		t.Run(name, func(t *testing.T) {
			r := startReconfigured(t, "good")
			r.mustBeReady()
			if err := r.Reconfigure(r.ctx(), r.withValue(map[string]any{"tokens": 3})); err != nil {
				t.Fatal(err)
			}
			next := r.withValue(map[string]any{"tokens": 3})
			test.change(&next, t)
			err := r.Reconfigure(r.ctx(), next)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
			if diags := (plugin.Diagnostics{}); errors.As(err, &diags) != (name == "refused") {
				t.Errorf("diagnostics: %v", diags)
			}
			info, err := r.Storage().Info(r.ctx())
			if err != nil || info.Tokens != 3 {
				t.Errorf("info: %+v, %v", info, err)
			}
		})
	}
}

func TestReconfigureGivesUpWithItsContext(t *testing.T) {
	r := startReconfigured(t, "good")
	r.mustBeReady()
	r.mustServe(0, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Reconfigure(ctx, r.withValue(map[string]any{"stall": true})) }()
	r.await("configuring", func(s Status) bool { return s.State == Configuring && s.Incarnation == 2 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	r.mustServe(0, 3)
}

func TestReconfigureOfAFailedPlugin(t *testing.T) {
	r := startReconfigured(t, "locked", "locked", "good")
	r.await("failed", func(s Status) bool { return s.State == Failed })
	if err := r.Reconfigure(r.ctx(), r.withValue(nil)); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("got %v", err)
	}
	r.mustBeReady() // with what it had before
	r.mustServe(0, 3)
}

func TestReconfigureInBackoff(t *testing.T) {
	r := &reconfigured{supervised: startSupervised(t, stayInBackoff, "exit", "good")}
	r.await("in backoff", func(s Status) bool { return s.State == Backoff })
	if err := r.Reconfigure(r.ctx(), r.withValue(map[string]any{"tokens": 1})); err != nil {
		t.Error(err)
	}
	r.mustServe(1)
}

func TestReconfigureOfAnother(t *testing.T) {
	r := startReconfigured(t, "good")
	for _, change := range []func(*Config){
		func(c *Config) { c.Name = "other" },
		func(c *Config) { c.Kind = plugin.KindStats },
	} {
		cfg := r.cfg
		change(&cfg)
		if err := r.Reconfigure(r.ctx(), cfg); err == nil || !strings.Contains(err.Error(), "cannot become") {
			t.Errorf("got %v", err)
		}
	}
	if err := r.Stop(r.ctx()); err != nil {
		t.Error(err)
	}
	if err := r.Reconfigure(r.ctx(), r.cfg); err == nil || !strings.Contains(err.Error(), "is stopped") {
		t.Errorf("got %v", err)
	}
}

func TestStopWhileReconfiguring(t *testing.T) {
	r := startReconfigured(t, "good")
	r.mustBeReady()
	done := make(chan error, 1)
	go func() { done <- r.Reconfigure(r.ctx(), r.withValue(map[string]any{"stall": true})) }()
	r.await("configuring", func(s Status) bool { return s.State == Configuring && s.Incarnation == 2 })
	if err := r.Stop(r.ctx()); err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil {
		t.Error("reconfigured a plugin that was stopped")
	}
	if s := r.Status(); s.State != Stopped || s.Incarnation != 2 {
		t.Errorf("status %+v", s)
	}
}
