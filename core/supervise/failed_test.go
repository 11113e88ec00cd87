package supervise

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func TestTooManyEndsAreAFailure(t *testing.T) {
	r := startSupervised(t, func(c *setup) { c.timing.maxFailures = 3 }, "exit", "exit", "exit", "exit", "crash", "good")
	err := r.WaitReady(r.ctx())
	for _, want := range []string{"ended 4 times within 10m0s", "told to exit"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	s := r.Status()
	if s.State != Failed || s.Incarnation != 4 || s.PID != 0 || !strings.Contains(s.Reason, "told to exit") || !strings.Contains(s.Reason, "a reload tries again") {
		t.Errorf("status %+v", s)
	}
	if !strings.Contains(r.log.String(), "plugin has failed") {
		t.Error("the log does not mention the failure")
	}
	// Calls do not wait: the context never ends.
	if _, err := r.Storage().Info(context.Background()); !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "told to exit") {
		t.Errorf("info: %v", err)
	}
	r.reload() // forgets the ends, so that another one is no failure
	if _, err := r.Storage().Append(r.ctx(), []storage.Record{newRecord(1)}); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("append: %v", err)
	}
	r.await("ready", func(s Status) bool { return s.State == Ready && s.Incarnation == 6 && s.Reason == "" })
	if _, err := r.Storage().Info(r.ctx()); err != nil {
		t.Error(err)
	}
}

// TestRetryForever shows that a plugin with RetryForever is started on and on, and that
// neither the lines of the supervisor nor those of the plugin fill the log.
func TestRetryForever(t *testing.T) {
	const ends, limit = 30, 5
	modes := append(slices.Repeat([]string{"exit"}, ends), "good")
	r := startSupervised(t, func(c *setup) {
		c.RetryForever = true
		c.timing.maxFailures, c.timing.stable = limit, time.Millisecond
	}, modes...)
	r.mustBeReady()
	if s := r.Status(); s.Restarts != ends || !strings.Contains(s.LastError, "told to exit") {
		t.Errorf("status %+v", s)
	}
	if _, err := r.Storage().Info(r.ctx()); err != nil {
		t.Error(err)
	}
	r.awaitLog("plugin is logged in full again")
	log := r.log.String()
	if n := strings.Count(log, "again and again"); n != 1 {
		t.Errorf("%d lines tell that it ends again and again, want 1", n)
	}
	// A logged end is a line of the plugin and one of the supervisor.
	if n := strings.Count(log, "told to exit"); n > 2*(limit+1)+1 {
		t.Errorf("%d lines about ends; only %d ends may be logged", n, limit+1)
	}
}

func TestRetryForeverStillFailsForItsConfiguration(t *testing.T) {
	r := startSupervised(t, func(c *setup) {
		c.RetryForever = true
		c.Value = encodeValue(t, map[string]any{"refuse": "no"})
	}, "good")
	if err := r.WaitReady(r.ctx()); err == nil || r.Status().State != Failed {
		t.Errorf("got %v, %s", err, r.Status().State)
	}
}

func TestReadyPluginsFailAsWell(t *testing.T) {
	r := startSupervised(t, func(c *setup) { c.timing.maxFailures = 2 }, "crash")
	store := r.Storage()
	for {
		_, err := store.Append(r.ctx(), []storage.Record{newRecord(1)})
		if !errors.Is(err, storage.ErrUnavailable) {
			t.Fatal(err)
		}
		if strings.Contains(err.Error(), "ended 3 times") {
			break
		}
	}
	if s := r.Status(); s.State != Failed || s.Restarts != 2 {
		t.Errorf("status %+v", s)
	}
}

// TestFailuresCountWithinTheWindow shows which ends count towards the limit.
func TestFailuresCountWithinTheWindow(t *testing.T) {
	start := time.Now()
	l := loop{Plugin: &Plugin{timing: defaultTiming}}
	for i, c := range []struct {
		at   time.Duration
		want int
	}{{0, 1}, {time.Minute, 2}, {10*time.Minute - 1, 3}, {10 * time.Minute, 3}, {11 * time.Minute, 3}, {time.Hour, 1}} {
		if got := l.countFailure(start.Add(c.at)); got != c.want {
			t.Errorf("end %d, after %v, is number %d within the window, want %d", i+1, c.at, got, c.want)
		}
	}
}

// TestStableTimeShortensTheDelay shows that a plugin which was ready for a while is
// started again after a short delay, however long the one before was.
func TestStableTimeShortensTheDelay(t *testing.T) {
	const shortest = 10 * time.Millisecond
	r := startSupervised(t, func(c *setup) {
		c.RetryForever = true
		c.timing.maxFailures, c.timing.stable = 2, time.Millisecond
		c.timing.backoffMin, c.timing.backoffMax = shortest, time.Hour
	}, "exit", "exit", "exit", "crash", "good")
	r.mustBeReady()
	r.awaitLog("plugin is logged in full again") // it was ready for long enough
	if _, err := r.Storage().Append(r.ctx(), []storage.Record{newRecord(1)}); !errors.Is(err, storage.ErrUnavailable) {
		t.Fatal(err)
	}
	r.await("ready again", func(s Status) bool { return s.State == Ready && s.Incarnation == 5 })
	delays := regexp.MustCompile(` after=(\S+)`).FindAllStringSubmatch(r.log.String(), -1)
	if len(delays) != 4 {
		t.Fatalf("the log has the delays %q, want 4", delays)
	}
	if last, err := time.ParseDuration(delays[3][1]); err != nil || last > shortest {
		t.Errorf("the delay after a stable time is %v, %v, want at most %v", last, err, shortest)
	}
}

// TestNoRestartsWhileStopping shows that a plugin which is killed during Stop is not
// started again: a machine that shuts down kills plugins and stops the relay in any order.
func TestNoRestartsWhileStopping(t *testing.T) {
	started := 0
	r := startSupervised(t, func(c *setup) {
		command := c.Command
		c.Command = func() (pluginproc.Command, error) {
			started++
			return command()
		}
	}, "stubborn")
	r.mustBeReady()
	life := r.nextProcess()
	stopped := make(chan error, 1)
	go func() { stopped <- r.Stop(r.ctx()) }()
	r.await("draining", func(s Status) bool { return s.State == Draining })
	syscall.Kill(life.pid, syscall.SIGKILL)
	<-stopped
	if s := r.Status(); started != 1 || s.State != Stopped || s.Restarts != 0 {
		t.Errorf("%d starts, status %+v", started, s)
	}
}

func TestDegradedPluginServes(t *testing.T) {
	r := startSupervised(t, nil, "degraded")
	s := r.await("degraded", func(s Status) bool { return s.State == Degraded })
	if s.Reason != "the disk is nearly full" {
		t.Errorf("status %+v", s)
	}
	if _, err := r.Storage().Info(r.ctx()); err != nil {
		t.Errorf("a degraded plugin does not serve: %v", err)
	}
	s = r.await("well", func(s Status) bool { return s.State == Ready && s.Reason == "" })
	if s.Incarnation != 1 {
		t.Errorf("status %+v", s)
	}
	if !strings.Contains(r.log.String(), "plugin is degraded") {
		t.Error("the log does not tell")
	}
}

// TestLostConnectionIsMadeAgain also shows that a plugin which cannot be reached any more is
// replaced, though its process runs.
func TestLostConnectionIsMadeAgain(t *testing.T) {
	for mode, incarnation := range map[string]int{"hang up": 1, "hang up forever": 2} {
		t.Run(mode, func(t *testing.T) {
			r := startSupervised(t, nil, mode, "good")
			r.mustBeReady()
			store := r.Storage()
			if _, err := store.Find(r.ctx(), []byte("x")); !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("find: %v", err)
			}
			r.await("examined", func(s Status) bool { return s.Incarnation == incarnation && s.State == Ready })
			for {
				_, err := store.Info(r.ctx())
				if err == nil {
					break
				}
				if !errors.Is(err, storage.ErrUnavailable) {
					t.Fatal(err)
				}
			}
			if s := r.Status(); s.Incarnation != incarnation {
				t.Errorf("status %+v", s)
			}
		})
	}
}

func TestConnectionLostInTheQuestionDoesNotEndThePlugin(t *testing.T) {
	r := startSupervised(t, nil, "hang up at the question", "good")
	if s := r.await("answering", func(s Status) bool { return s.State == Degraded || s.Restarts > 0 }); s.Restarts > 0 {
		t.Errorf("status %+v", s)
	}
}

// TestPluginRefusedByAdmitFails shows that a plugin which comes back as another one is
// neither called nor started again; one that cannot be asked is started again.
func TestPluginRefusedByAdmitFails(t *testing.T) {
	var asked int
	r := startSupervised(t, func(c *setup) {
		c.Admit = func(ctx context.Context, client *host.Client, tried bool) error {
			if tried != (asked == 3) {
				t.Errorf("question %d is about another configuration: %v", asked+1, tried)
			}
			if _, err := client.Storage().Info(ctx); err != nil {
				t.Errorf("info before anybody else may call: %v", err)
			}
			switch asked++; asked {
			case 1, 4:
				return nil
			case 2:
				return storage.ErrUnavailable
			}
			return errors.New("another store")
		}
	}, "crash", "good", "good", "good")
	r.mustBeReady()
	store := r.Storage()
	if _, err := store.Append(r.ctx(), []storage.Record{newRecord(1)}); !errors.Is(err, storage.ErrUnavailable) {
		t.Fatal(err)
	}
	// No call gets through to the third incarnation.
	if _, err := store.Append(r.ctx(), []storage.Record{newRecord(2)}); !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "another store") {
		t.Errorf("append to another store: %v", err)
	}
	if s := r.Status(); s.State != Failed || s.Incarnation != 3 || !strings.Contains(s.Reason, "another store") {
		t.Errorf("status %+v", s)
	}
	r.reload()
	if s := r.Status(); s.State != Ready || s.Incarnation != 4 {
		t.Errorf("status after a reload %+v", s)
	}
}
