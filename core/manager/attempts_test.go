package manager

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A guesser has six attempts a minute at one server, which take none from another server.
func TestAttemptsPerMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a attempts
		try := func(name string) error {
			done, err := a.beginAttempt(name)
			if err == nil {
				done(false)
			}
			return err
		}
		for i := range attemptsAtOnce {
			if err := try("main"); err != nil {
				t.Fatalf("attempt %d: %v", i+1, err)
			}
		}
		allowed := 0
		for range 600 { // of a second each
			if err := try("main"); err == nil {
				allowed++
			} else if often, ok := errors.AsType[*TooManyAttemptsError](err); !ok || often.RetryAfter < time.Second || often.RetryAfter > attemptEvery {
				t.Fatalf("got %v", err)
			}
			time.Sleep(time.Second)
		}
		if allowed < 58 || allowed > 60 {
			t.Errorf("%d attempts in ten minutes", allowed)
		}
		if err := try("other"); err != nil {
			t.Error(err)
		}
	})
}

// Attempts that wait for their turn are bounded over all servers.
func TestWaitingAttemptsAreBounded(t *testing.T) {
	var a attempts
	var ends []func(bool)
	for i := range attemptsWaiting {
		done, err := a.beginAttempt(string(rune('a' + i)))
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, done)
	}
	if _, err := a.beginAttempt("z"); err == nil {
		t.Error("one more was allowed")
	}
	ends[0](false)
	if _, err := a.beginAttempt("z"); err != nil {
		t.Error(err)
	}
}

// The owner, who knows the passphrase, is not held up by their own attempts, and a guesser gets
// none more by theirs.
func TestRightPassphraseDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a attempts
		try := func(right bool) error {
			done, err := a.beginAttempt("main")
			if err == nil {
				time.Sleep(time.Second)
				done(right)
			}
			return err
		}
		for i := range 50 {
			if err := try(true); err != nil {
				t.Fatalf("right attempt %d: %v", i+1, err)
			}
		}
		wrong := 0
		for range 600 {
			if try(false) == nil {
				wrong++
				if wrong < attemptsAtOnce { // the last one is left for the owner
					try(true)
				}
			} else {
				time.Sleep(time.Second)
			}
		}
		if wrong > attemptsAtOnce+62 || wrong < 55 {
			t.Errorf("%d wrong attempts in some ten minutes", wrong)
		}
	})
}
