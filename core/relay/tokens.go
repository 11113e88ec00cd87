package relay

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/limits"
)

const (
	// usualPurchase is how many tokens clients buy, so nobody must wait long for them.
	usualPurchase = token.DefaultBatch
	// usualWait bounds how long a usual purchase waits for its signatures behind
	// others that are paid.
	usualWait = 10 * time.Second
	// largeWait bounds the same for a larger purchase, which waits behind all usual
	// ones. Clients give up earlier.
	largeWait = 5 * time.Minute
	// maxPurchases is more than the token service has places.
	maxPurchases = 1 << 20
)

func tokensPerSecond(l limits.Limits) int { return l.TokenBatchesPerSecond * l.TokenBatch }

// tokenPlaces returns how many connections the token service may have. Every client
// that has a place is given a proof of work to do. There are only as many places as
// can be served within usualWait if all clients come back with the proof at once.
func tokenPlaces(l limits.Limits) int {
	inTime := tokensPerSecond(l) * int(usualWait/time.Second) / min(usualPurchase, l.TokenBatch)
	return min(l.Connections, inTime)
}

// serveTokens sells one batch of tokens to a connection of the token service.
func (s *Server) serveTokens(ctx context.Context, nc net.Conn, p *place) {
	n, err := token.Issue(ctx, tapir.Plain(nc), s.key, token.IssueConfig{
		MaxBatch:    s.limits.Load().TokenBatch,
		StepTimeout: s.limits.Load().HandshakeTimeout,
		Admit:       func(ctx context.Context, n int) error { return s.admitPurchase(ctx, nc, n, p) },
	})
	if err != nil {
		if errors.Is(err, errTooMany) {
			s.counts.purchasesRefused.Add(1)
		} else {
			s.counts.purchasesBrokenOff.Add(1)
		}
		s.log.Debug("token purchase failed", "error", dropAddresses(err))
		return
	}
	s.counts.purchases.Add(1)
	s.counts.tokensSold.Add(uint64(n))
}

// admitPurchase makes a paid purchase wait for its turn. A usual purchase always gets one,
// because tokenPlaces lets no more in than can be served. A larger one waits for what
// the others leave, and may be evicted meanwhile.
func (s *Server) admitPurchase(ctx context.Context, nc net.Conn, n int, p *place) error {
	if n <= usualPurchase {
		p.keepForever()
	}
	ctx, cancel := context.WithTimeoutCause(ctx, largeWait, errTooMany)
	defer cancel()
	if err := s.purchases.waitTurn(ctx, n, func() bool { return isGone(nc) }); err != nil {
		return err
	}
	p.keepForever()
	return nil
}

// usualFirst serves usual purchases before larger ones, each in the order in which
// they were paid.
func usualFirst(waiting []*applicant, a *applicant) int {
	if a.weight > usualPurchase {
		return 0
	}
	if i := slices.IndexFunc(waiting, func(w *applicant) bool { return w.weight <= usualPurchase }); i >= 0 {
		return i
	}
	return len(waiting)
}
