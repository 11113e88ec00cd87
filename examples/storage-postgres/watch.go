package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// channel is the name under which relays wake each other.
func (s *Store) channel() string { return "cwtch_relay_" + s.options.Schema }

// Watch implements [storage.Watcher]. What wakes it says nothing: it asks for the end of the
// log itself. It waits for a database that is away.
func (s *Store) Watch(ctx context.Context, after storage.Seq) (storage.Seq, error) {
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		s.mu.Lock()
		woken := s.woken
		s.mu.Unlock()
		var last storage.Seq
		err := s.explainError(ctx, s.pool.QueryRow(ctx, "select last from state").Scan(&last))
		switch {
		case errors.Is(err, storage.ErrUnavailable): // Health says so
		case err != nil:
			return 0, fmt.Errorf("watch: %w", err)
		case last > min(after, math.MaxInt64):
			return last, nil
		}
		select {
		case <-woken:
		case <-poll.C:
		case <-ctx.Done():
		}
	}
}

// followLog wakes each Watch when a relay says that it has appended, and when it connects
// anew, since something may have been said before. It goes on until ctx ends.
func (s *Store) followLog(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		if s.broken.Swap(&err) == nil {
			s.log.Warn("cannot be told what other relays append, will keep trying", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(connectPause):
		}
	}
}

// listen wakes each Watch until the connection breaks.
func (s *Store) listen(ctx context.Context) error {
	cfg := s.pool.Config().ConnConfig
	if err := readPassword(s.options, cfg); err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing was written
	if _, err := conn.Exec(ctx, "listen "+s.channel()); err != nil {
		return err
	}
	if s.broken.Swap(nil) != nil {
		s.log.Info("PostgreSQL is back")
	}
	for {
		s.wakeWatches()
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return err
		}
	}
}

func (s *Store) wakeWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.woken)
	s.woken = make(chan struct{})
}
