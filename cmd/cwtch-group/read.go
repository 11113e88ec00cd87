package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// readJob prints the messages of a group, for read and follow.
type readJob struct {
	app      *app
	board    identity.Onion
	messages *messageReader
	printer  printer
	network  *memberNetwork

	limit int       // messages to print; 0 is no limit
	saved time.Time // last save to the profile

	connected bool  // at least once
	lost      error // why the last connection ended
}

// groupReader prints the messages of a group, from one server or several hosts.
type groupReader interface {
	// readAll prints all messages, up to the end of the board.
	readAll(ctx context.Context) error
	// followUntil prints messages until ctx ends, or until there were limit ones unless
	// that is 0. It always returns an error.
	followUntil(ctx context.Context, limit int) error
	// save writes to the profile how far reading got, even when ctx has ended; read tells
	// whether the messages were printed.
	save(ctx context.Context, read bool) error
	// connection tells whether there was one, and why the last one ended.
	connection() (connected bool, lost error)
	counted() *messageReader
}

// startReading prepares to print a group from the beginning, or from where reading
// last ended. The caller calls hangUp at the end.
func (a *app) startReading(ctx context.Context, name string, fromStart bool) (r groupReader, hangUp func(), err error) {
	s, err := a.profile.View()
	if err != nil {
		return nil, nil, err
	}
	g, err := findGroup(s, name)
	if err != nil {
		return nil, nil, fmt.Errorf("read group: %w", err)
	}
	if g.Serverless != nil {
		hosts, err := a.newHostReader(ctx, s, g, func(h *profile.Host) position {
			if fromStart {
				return nil
			}
			return h.Read
		})
		if err != nil {
			return nil, nil, err
		}
		if !fromStart {
			hosts.messages.printed = g.Printed
		}
		return hosts, hosts.network.Close, nil
	}
	server, err := s.Server(g.Group.Server)
	if err != nil {
		return nil, nil, fmt.Errorf("read group: %w", err)
	}
	messages := newMessageReader(g, server, nil)
	if !fromStart {
		messages = newMessageReader(g, server, g.Read)
		messages.printed = g.Printed
	}
	network := a.newNetwork(s)
	if err := network.start(ctx, g.Group.Server); err != nil {
		return nil, nil, err
	}
	return &readJob{
		app: a, board: g.Group.Server, messages: messages, network: network,
		printer: printer{a, a.newNames(ctx, s.Identity.Onion(), g), time.Local},
	}, network.Close, nil
}

func (a *app) runRead(ctx context.Context, args []string) error {
	if a.onlyNew && a.since != "" {
		return usageError{"-new and -since cannot be used together", "use one of them"}
	}
	since, err := parseSince(a.since, time.Now())
	if err != nil {
		return err
	}
	r, hangUp, err := a.startReading(ctx, args[0], !a.onlyNew)
	if err != nil {
		return err
	}
	defer hangUp()
	r.counted().since = since
	err = r.readAll(ctx)
	if err != nil && !errors.Is(err, errNoneRead) {
		return err
	}
	return errors.Join(err, r.save(ctx, since.IsZero())) // older messages stay unread
}

func (r *readJob) readAll(ctx context.Context) error {
	board, err := r.syncAndPrint(ctx)
	if err != nil {
		return err
	}
	board.Close()
	r.app.progress.Note("%s", r.messages.summaryText(r.printer.names))
	return nil
}

func (r *readJob) save(ctx context.Context, read bool) error {
	return r.messages.saveProgress(ctx, r.app.profile, read)
}

func (r *readJob) connection() (bool, error) { return r.connected, r.lost }
func (r *readJob) counted() *messageReader   { return r.messages }

// parseSince parses how long ago, or a local time. "" is the zero time.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if days, err := strconv.ParseUint(strings.TrimSuffix(s, "d"), 10, 16); err == nil && strings.HasSuffix(s, "d") {
		return now.AddDate(0, 0, -int(days)), nil
	}
	if ago, err := time.ParseDuration(s); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02 15:04", time.DateTime, time.RFC3339} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usageError{fmt.Sprintf("-since %s is not a time", s), `write how long ago, such as 90m, 12h or 3d, or a time, such as 2026-11-28 or "2026-11-28 09:30"`}
}

// syncAndPrint connects and prints all messages after the position. The connection
// stays open.
func (r *readJob) syncAndPrint(ctx context.Context) (*client.Board, error) {
	board, err := r.app.syncBoard(ctx, r.network, r.board, r.messages, r.printEvent)
	if err != nil {
		return nil, err
	}
	r.app.progress.Done()
	return board, nil
}

// printEvent prints the message of an event. Its errors are final, except
// [client.ErrWrongStart].
func (r *readJob) printEvent(e client.Event) error {
	m, ok, err := r.messages.takeEvent(e)
	if err != nil {
		return err
	}
	if ok {
		r.app.progress.Done()
		if err := r.printer.printMessage(m); err != nil {
			return final{err}
		}
		if err := r.app.out.Flush(); err != nil {
			return final{fmt.Errorf("write output: %w", err)}
		}
	}
	if r.limit > 0 && r.messages.messageCount() == r.limit {
		return errEnough
	}
	return nil
}
