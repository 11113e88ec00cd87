package relay

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/token"
)

// serveTokens sells one batch of tokens to a connection of the token service.
func (s *Server) serveTokens(ctx context.Context, nc net.Conn) {
	n, err := token.Issue(ctx, tapir.Plain(nc), s.key, token.IssueConfig{
		MaxBatch:    s.limits.Load().TokenBatch,
		StepTimeout: s.limits.Load().HandshakeTimeout,
		Admit:       s.admitSale,
	})
	if err != nil {
		if errors.Is(err, errTooMany) {
			s.counts.salesRefused.Add(1)
		} else {
			s.counts.salesBrokenOff.Add(1)
		}
		s.log.Debug("token purchase failed", "error", addressless(err))
		return
	}
	s.counts.sales.Add(1)
	s.counts.tokensSold.Add(uint64(n))
}

var errTooMany = errors.New("too many purchases")

// admitSale makes a purchase wait for its turn, no longer than a client waits.
func (s *Server) admitSale(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.limits.Load().HandshakeTimeout)
	defer cancel()
	if err := s.sales.Wait(ctx); err != nil {
		return fmt.Errorf("%w: %w", errTooMany, err)
	}
	return nil
}
