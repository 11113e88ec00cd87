package relay

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// counts are what a server has done since it started. Each is a sum over all
// clients; none is kept for one client.
type counts struct {
	board, tokens connectionCounts

	unauthenticated atomic.Uint64
	malformed       atomic.Uint64
	idle            atomic.Uint64
	stuck           atomic.Uint64
	unserved        atomic.Uint64 // the store was too slow for a reader, was away, or pruned most of a replay

	invalidToken    atomic.Uint64
	invalidEnvelope atomic.Uint64
	replays         atomic.Uint64
	replayed        atomic.Uint64

	purchases          atomic.Uint64
	purchasesBrokenOff atomic.Uint64
	purchasesRefused   atomic.Uint64
	tokensSold         atomic.Uint64
}

type connectionCounts struct {
	open         atomic.Int64
	accepted     atomic.Uint64
	refused      atomic.Uint64
	delayed      atomic.Uint64
	evicted      atomic.Uint64
	abandoned    atomic.Uint64
	acceptErrors atomic.Uint64
	panics       atomic.Uint64

	acceptLog, panicLog rate.Sometimes // for events that strangers can repeat
}

// setLogInterval limits the log of events that strangers can repeat to one line a minute.
func (c *connectionCounts) setLogInterval() {
	c.acceptLog.Interval, c.panicLog.Interval = time.Minute, time.Minute
}

// Status is a server as its operator sees it. Its JSON form is part of the
// output of the status command.
type Status struct {
	Since        time.Time      `json:"since"`
	Board        identity.Onion `json:"board"`
	TokenService identity.Onion `json:"token_service"`
	Problem      string         `json:"problem,omitempty"`  // why the board refuses posts for good, or to serve at all
	Refusing     string         `json:"refusing,omitempty"` // why the last posts were refused, if it was because of the store
	NoRoom       string         `json:"no_room,omitempty"`  // why no posts are taken now: the server is full, or its disk
	Stalled      bool           `json:"stalled,omitempty"`  // posts wait that a defect keeps from being taken

	Store  *StoreStatus `json:"store,omitempty"` // absent while the store does not answer
	Budget BudgetStatus `json:"budget"`
	Posts  PostCounts   `json:"posts"`
	Reads  ReadCounts   `json:"reads"`
	Tokens TokenCounts  `json:"tokens"`

	BoardConnections ConnectionCounts `json:"board_connections"`
	TokenConnections ConnectionCounts `json:"token_connections"`
}

// StoreStatus is what the store says of itself.
type StoreStatus struct {
	Envelopes uint64 `json:"envelopes"`
	Bytes     uint64 `json:"bytes"`
	InUse     uint64 `json:"in_use,omitempty"` // of Bytes; the rest is free for reuse
	Tokens    uint64 `json:"spent_tokens"`
	// Floor is when the hour begins before which the store keeps nothing; absent if it has
	// pruned nothing.
	Floor *time.Time `json:"floor,omitempty"`
}

// PostCounts tells what became of posts since the start.
type PostCounts struct {
	Stored          uint64 `json:"stored"`
	FromPeers       uint64 `json:"from_peers,omitempty"` // stored besides, from other relays
	Duplicate       uint64 `json:"duplicate"`
	SpentToken      uint64 `json:"spent_token"`
	Conflict        uint64 `json:"conflict"`    // another envelope has the signature
	Expired         uint64 `json:"expired"`     // the clock is behind the floor of the store
	NoRoom          uint64 `json:"no_room"`     // the server is full, or its disk
	OverBudget      uint64 `json:"over_budget"` // too much is posted
	InvalidToken    uint64 `json:"invalid_token"`
	InvalidEnvelope uint64 `json:"invalid_envelope"` // too large, or without a signature
	Timeout         uint64 `json:"timeout"`          // queue or store took too long
	StoreFailed     uint64 `json:"store_failed"`
	Batches         uint64 `json:"batches"`
}

// ReadCounts tells what was read since the start.
type ReadCounts struct {
	Replays    uint64 `json:"replays"`
	Replayed   uint64 `json:"replayed"` // envelopes sent in replays
	StorePages uint64 `json:"store_pages"`
}

// TokenCounts tells what the token service did since the start.
type TokenCounts struct {
	Purchases uint64 `json:"purchases"`
	Failed    uint64 `json:"failed"`  // refused ones included
	Refused   uint64 `json:"refused"` // paid, and not signed for want of capacity
	Sold      uint64 `json:"sold"`
}

// ConnectionCounts counts the connections to one onion service since the
// start.
type ConnectionCounts struct {
	Open            int64  `json:"open"`
	Accepted        uint64 `json:"accepted"`
	Refused         uint64 `json:"refused"`             // too many at a time
	Delayed         uint64 `json:"delayed"`             // had to wait for a handshake or a signature
	Evicted         uint64 `json:"evicted,omitempty"`   // had to leave their place to a newer one
	Abandoned       uint64 `json:"abandoned,omitempty"` // closed by the client before they were accepted
	AcceptErrors    uint64 `json:"accept_errors,omitempty"`
	Unauthenticated uint64 `json:"unauthenticated,omitempty"`
	Malformed       uint64 `json:"malformed,omitempty"`
	Idle            uint64 `json:"idle,omitempty"`
	Stuck           uint64 `json:"stuck,omitempty"`
	Unserved        uint64 `json:"unserved,omitempty"` // the store was too slow for a reader, or away, or pruned most of a replay
	Panics          uint64 `json:"panics,omitempty"`
}

func (c *connectionCounts) snapshotCounts() ConnectionCounts {
	return ConnectionCounts{
		Open:         c.open.Load(),
		Accepted:     c.accepted.Load(),
		Refused:      c.refused.Load(),
		Delayed:      c.delayed.Load(),
		Evicted:      c.evicted.Load(),
		Abandoned:    c.abandoned.Load(),
		AcceptErrors: c.acceptErrors.Load(),
		Panics:       c.panics.Load(),
	}
}

// Status describes the server as it is now. It asks the store, until ctx ends.
func (s *Server) Status(ctx context.Context) Status {
	c, b := &s.counts, &s.board.Counts
	refused := c.purchasesRefused.Load()
	st := Status{
		Since:        s.since,
		Board:        s.cfg.Keys.Board.Onion(),
		TokenService: s.cfg.Keys.Token.Onion(),
		Posts: PostCounts{
			Stored:          b.Stored.Load() - b.FromPeers.Load(),
			FromPeers:       b.FromPeers.Load(),
			Duplicate:       b.Duplicate.Load(),
			SpentToken:      b.Spent.Load(),
			Conflict:        b.Conflict.Load(),
			Expired:         b.Expired.Load(),
			NoRoom:          b.NoRoom.Load(),
			OverBudget:      s.budget.refused.Load(),
			InvalidToken:    c.invalidToken.Load(),
			InvalidEnvelope: c.invalidEnvelope.Load(),
			Timeout:         b.Timeout.Load(),
			StoreFailed:     b.Failed.Load(),
			Batches:         b.Batches.Load(),
		},
		Reads: ReadCounts{
			Replays:    c.replays.Load(),
			Replayed:   c.replayed.Load(),
			StorePages: b.StorePages.Load(),
		},
		Tokens: TokenCounts{
			Purchases: c.purchases.Load(),
			Failed:    c.purchasesBrokenOff.Load() + refused,
			Refused:   refused,
			Sold:      c.tokensSold.Load(),
		},
		BoardConnections: c.board.snapshotCounts(),
		TokenConnections: c.tokens.snapshotCounts(),
	}
	st.BoardConnections.Unauthenticated = c.unauthenticated.Load()
	st.BoardConnections.Malformed = c.malformed.Load()
	st.BoardConnections.Idle = c.idle.Load()
	st.BoardConnections.Stuck = c.stuck.Load()
	st.BoardConnections.Unserved = c.unserved.Load()
	if err := s.board.LastRefusal(); err != nil {
		st.Refusing = err.Error()
	}
	if err := s.board.NoRoom(); err != nil {
		st.NoRoom = err.Error()
	}
	st.Budget = s.budget.status()
	st.Stalled = s.board.Stalled()
	if info, err := s.board.StoreInfo(ctx); err == nil {
		st.Store = &StoreStatus{Envelopes: info.Count, Bytes: info.Bytes, InUse: info.InUse, Tokens: info.Tokens}
		if info.Floor > 0 {
			st.Store.Floor = new(time.Unix(int64(info.Floor)*3600, 0).UTC())
		}
	}
	if err := s.board.Problem(); err != nil {
		st.Problem = err.Error()
	}
	return st
}
