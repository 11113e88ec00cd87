package relay

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/limits"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/token"
)

const (
	// usualPurchase is what clients buy, so what nobody is to wait for long.
	usualPurchase = token.DefaultBatch
	// usualWait bounds how long a usual purchase waits for its signatures, while
	// others who did the proof of work are served before it.
	usualWait = 10 * time.Second
	// largeWait bounds the same for a larger one, which goes behind all of those.
	// A client gives up earlier.
	largeWait = 5 * time.Minute
	// maxSales is more than the places at the token service.
	maxSales = 1 << 20
)

func tokensPerSecond(l limits.Limits) int { return l.TokenBatchesPerSecond * l.TokenBatch }

// tokenPlaces is how many connections the token service may have. Whoever has a
// place has been given a proof of work to do, so there are no more than can be
// served within usualWait, should all of them come back with it at once.
func tokenPlaces(l limits.Limits) int {
	inTime := tokensPerSecond(l) * int(usualWait/time.Second) / min(usualPurchase, l.TokenBatch)
	return min(l.Connections, inTime)
}

// serveTokens sells one batch of tokens to a connection of the token service.
func (s *Server) serveTokens(ctx context.Context, nc net.Conn, p *place) {
	n, err := token.Issue(ctx, tapir.Plain(nc), s.key, token.IssueConfig{
		MaxBatch:    s.limits.Load().TokenBatch,
		StepTimeout: s.limits.Load().HandshakeTimeout,
		Admit:       func(ctx context.Context, n int) error { return s.admitSale(ctx, nc, n, p) },
	})
	if err != nil {
		if errors.Is(err, errTooMany) {
			s.counts.salesRefused.Add(1)
		} else {
			s.counts.salesBrokenOff.Add(1)
		}
		s.log.Debug("token purchase failed", "error", dropAddresses(err))
		return
	}
	s.counts.sales.Add(1)
	s.counts.tokensSold.Add(uint64(n))
}

// admitSale makes a paid purchase wait for its turn. That of a usual one comes:
// tokenPlaces has let no more in. A larger one waits for what the others leave,
// and has no claim to its place meanwhile.
func (s *Server) admitSale(ctx context.Context, nc net.Conn, n int, p *place) error {
	if n <= usualPurchase {
		p.keepForever()
	}
	ctx, cancel := context.WithTimeoutCause(ctx, largeWait, errTooMany)
	defer cancel()
	if err := s.sales.waitTurn(ctx, n, func() bool { return isGone(nc) }); err != nil {
		return err
	}
	p.keepForever()
	return nil
}

// usualFirst serves usual purchases before larger ones, and both in the order in
// which they were paid.
func usualFirst(waiting []*applicant, a *applicant) int {
	if a.weight > usualPurchase {
		return 0
	}
	if i := slices.IndexFunc(waiting, func(w *applicant) bool { return w.weight <= usualPurchase }); i >= 0 {
		return i
	}
	return len(waiting)
}
