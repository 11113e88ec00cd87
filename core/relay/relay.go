// Package relay hosts one Cwtch server: a board onion service that takes posts
// and replays envelopes, a token onion service that sells write tokens for a
// proof of work, and the board behind them.
//
// # What a client sees
//
// The board authenticates a connection, answers posts in their order, replays
// the log on request and then sends every new envelope, the client's own
// included. A connection that breaks the protocol is closed without a word. The
// token service has no authentication; one connection buys one batch.
//
// # Peers
//
// Another relay that has a replica of the board dials the same service at the same port, and
// authenticates as a client does, with the key of its own board. Only then does [Config.Peer]
// tell it apart. Anybody else is a client, so nothing tells that the board has replicas.
// The connection of a peer does not keep a place.
//
// # Bounds
//
// [limits.Limits] bounds what strangers may cost.
//
// Every connection is accepted at once. When all places are taken, a new connection
// takes the place of another: of the oldest whose client has not asked for anything
// yet, or of the one that has asked for nothing for the longest time. A usual
// purchase that is paid keeps its place.
//
// The rate of handshakes is bounded, newest first. So is the rate of signed tokens,
// small purchases first; a client that did the proof of work for a usual purchase is
// never turned away.
//
// What all clients together may post is bounded for an hour and for a day. The clients that
// post most are refused first (budget.go). A refused post does not spend its token.
//
// A client that posts faster than the store commits is read more slowly. A client
// that does not read is waited for, with at most one page of envelopes in memory, and
// is closed when it reads nothing for Limits.StuckReader.
//
// # What is not kept
//
// A connection's name is used for its authentication and then forgotten. Nothing
// in logs or counts is about one client.
//
// # The way of a post
//
// The reader of a session takes a post (readRequests), checks its token, takes it from the
// budget and hands it to the board (queuePost). Package board says what follows.
package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/board"
	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Port is the virtual port of both onion services of a Cwtch server.
const Port = 9878

// Config describes a server.
type Config struct {
	Network onion.Network
	Keys    *identity.Server
	Store   storage.Store
	Limits  limits.Limits
	Check   func() error // see [board.Config]
	Logger  *slog.Logger // nil discards

	HoursFile string // see [board.Config]

	// Peer, unless nil, returns what serves the connections of a peer of the board until they
	// end, or nil if the name is not that of a peer. It is called for every connection.
	Peer func(identity.Onion) func(context.Context, *tapir.Conn)
}

func boardPlaces(l limits.Limits) int { return l.Connections }

// Server is a running server. Its methods may be called from any goroutine.
type Server struct {
	cfg       Config
	log       *slog.Logger
	board     *board.Board
	key       *token.Key
	acceptors []*acceptor

	handshakes *admission
	purchases  *admission
	budget     *budget
	// limits are those of new connections; a connection keeps the ones it has.
	limits atomic.Pointer[limits.Limits]
	since  time.Time

	sessionsCtx  context.Context    // of all sessions
	stopSessions context.CancelFunc // ends it
	wg           sync.WaitGroup

	counts counts
}

// Start is Open and Publish.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	s, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := s.Publish(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Open opens the board on its store. The store and the network remain the caller's and
// must outlive the server.
func Open(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	key, err := token.NewKey(cfg.Keys.Scalar)
	if err != nil {
		return nil, fmt.Errorf("start server: %w", err)
	}
	l := cfg.Limits
	b, err := board.Open(ctx, board.Config{
		Store:        cfg.Store,
		QueueRecords: l.QueueRecords,
		QueueBytes:   l.QueueBytes,
		PostTimeout:  l.PostTimeout,
		MaxJSON:      tapir.MaxPayload - wire.NewOverhead,
		Check:        cfg.Check,
		HoursFile:    cfg.HoursFile,
		Logger:       cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("start server: %w", err)
	}
	run, stop := context.WithCancel(context.Background())
	s := &Server{
		cfg:          cfg,
		log:          cfg.Logger,
		board:        b,
		key:          key,
		since:        time.Now(),
		stopSessions: stop,
	}
	s.limits.Store(&l)
	s.counts.board.setLogInterval()
	s.counts.tokens.setLogInterval()
	s.handshakes = newAdmission(l.ConnectionsPerSecond, maxHandshakes, newestFirst, &s.counts.board.delayed)
	s.purchases = newAdmission(tokensPerSecond(l), maxPurchases, usualFirst, &s.counts.tokens.delayed)
	s.budget = newBudget(l, s.log)
	s.sessionsCtx = run
	return s, nil
}

// Publish publishes the two onion services. It returns when both can be found, or
// when ctx ends. After an error the server is closed.
func (s *Server) Publish(ctx context.Context) error {
	if err := s.publishServices(ctx); err != nil {
		s.Close(ctx) //nolint:errcheck // nothing was posted yet
		return fmt.Errorf("start server: %w", err)
	}
	return nil
}

// publishServices publishes both services at the same time, since each takes seconds.
func (s *Server) publishServices(ctx context.Context) error {
	services := []struct {
		name  string
		key   identity.Key
		count *connectionCounts
		max   func(limits.Limits) int
		serve connHandler
	}{
		{"board", s.cfg.Keys.Board, &s.counts.board, boardPlaces, s.serveBoard},
		{"token service", s.cfg.Keys.Token, &s.counts.tokens, tokenPlaces, s.serveTokens},
	}
	listeners := make([]net.Listener, len(services))
	errs := make([]error, len(services))
	var wg sync.WaitGroup
	for i, svc := range services {
		wg.Go(func() {
			ln, err := s.cfg.Network.Listen(ctx, svc.key, Port)
			if err != nil {
				err = fmt.Errorf("publish the %s: %w", svc.name, err)
			}
			listeners[i], errs[i] = ln, err
		})
	}
	wg.Wait()
	for i, ln := range listeners {
		if ln == nil {
			continue
		}
		a := newAcceptor(ln, services[i].max, s.cfg.Limits, services[i].count, s.log)
		s.acceptors = append(s.acceptors, a)
		s.wg.Go(func() { a.serveAll(s.sessionsCtx, services[i].serve) })
	}
	return errors.Join(errs...)
}

// SetLimits changes the limits of a running server, as far as they are live. Limits of
// one connection hold for new connections. No connection is closed.
func (s *Server) SetLimits(l limits.Limits) {
	s.limits.Store(&l)
	s.handshakes.setRate(l.ConnectionsPerSecond)
	s.purchases.setRate(tokensPerSecond(l))
	s.budget.setLimits(l)
	for _, a := range s.acceptors {
		a.setLimits(l)
	}
}

// Bundle returns the signed key bundle that clients import.
func (s *Server) Bundle() bundle.Bundle { return bundle.New(s.cfg.Keys, s.key.Public()) }

// Board returns the board of the server, for what concerns its store.
func (s *Server) Board() *board.Board { return s.board }

// Close withdraws the services, commits and answers the posts that wait, and closes
// all connections. When ctx ends, posts that still wait are refused.
func (s *Server) Close(ctx context.Context) error {
	for _, a := range s.acceptors {
		a.closeListener()
	}
	err := s.board.Close(ctx)
	s.stopSessions()
	s.wg.Wait()
	if err != nil {
		return fmt.Errorf("close server: posts were refused: %w", err)
	}
	return nil
}
