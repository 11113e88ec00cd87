package relay

import (
	"context"
	"fmt"
	"net"

	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/token"
)

// serveTokens sells one batch of tokens to a connection of the token service.
func (s *Server) serveTokens(ctx context.Context, nc net.Conn) {
	n, err := token.Issue(ctx, tapir.Plain(nc), s.key, token.IssueConfig{
		MaxBatch:    s.cfg.Limits.TokenBatch,
		StepTimeout: s.cfg.Limits.HandshakeTimeout,
		Admit:       s.admitSale,
	})
	if err != nil {
		s.counts.salesFailed.Add(1)
		s.log.Debug("token purchase failed", "error", addressless(err))
		return
	}
	s.counts.sales.Add(1)
	s.counts.tokensSold.Add(uint64(n))
}

// admitSale makes a purchase wait for its turn, no longer than a client waits.
func (s *Server) admitSale(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Limits.HandshakeTimeout)
	defer cancel()
	if err := s.sales.Wait(ctx); err != nil {
		s.counts.salesRefused.Add(1)
		return fmt.Errorf("too many purchases: %w", err)
	}
	return nil
}
