package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// SpentTokens implements [storage.Ledger].
func (s *Store) SpentTokens(ctx context.Context, req storage.SpentTokensRequest) ([]storage.SpentToken, error) {
	limit, err := req.Bound()
	if err != nil {
		return nil, fmt.Errorf("spent tokens: %w", err)
	}
	after := []byte{}
	if req.After != nil {
		after = req.After[:]
	}
	// No token is shorter than those of a page, so the empty one comes before all.
	rows, err := s.query(ctx, "select token, id from tokens where token > $1 order by token limit $2", after, limit)
	if err != nil {
		return nil, fmt.Errorf("spent tokens: %w", err)
	}
	var out []storage.SpentToken
	err = scanRows(rows, func() error {
		var token, id []byte
		err := rows.Scan(&token, &id)
		if err == nil {
			out = append(out, storage.SpentToken{Token: storage.TokenID(token), ID: storage.ID(id)})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("spent tokens: %w", s.explainError(ctx, err))
	}
	return out, nil
}

// query starts a query, unless ctx has ended. Its rows close themselves at their end.
func (s *Store) query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	rows, err := s.pool.Query(ctx, sql, args...)
	return rows, s.explainError(ctx, err)
}

// Spend implements [storage.Ledger].
func (s *Store) Spend(ctx context.Context, spent []storage.SpentToken) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := storage.CheckSpend(spent); err != nil {
		return fmt.Errorf("spend: %w", err)
	}
	tokens, ids := splitTokens(spent)
	err := s.runTransaction(ctx, func(conn *pgxpool.Conn) error {
		var q pgx.Batch
		q.Queue("begin")
		q.Queue(lockState)
		q.Queue("with new as (insert into tokens select * from unnest($1::bytea[], $2::bytea[]) on conflict do nothing returning 1) "+
			"update state set tokens = tokens + (select count(*) from new)", tokens, ids)
		q.Queue("commit")
		return conn.SendBatch(ctx, &q).Close()
	})
	if err != nil {
		return fmt.Errorf("spend: %w", err)
	}
	return nil
}
