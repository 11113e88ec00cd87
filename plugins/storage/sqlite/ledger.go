package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// SpentTokens implements [storage.Ledger].
func (s *Store) SpentTokens(ctx context.Context, req storage.SpentTokensRequest) (page []storage.SpentToken, err error) {
	limit, err := req.Bound()
	if err != nil {
		return nil, fmt.Errorf("list the tokens of %s: %w", s.path, err)
	}
	after := []byte{} // comes before any token
	if req.After != nil {
		after = req.After[:]
	}
	err = s.withReader(ctx, "list the tokens of", func() (err error) {
		page, err = s.reader.readTokens(after, limit)
		return err
	})
	return page, err
}

func (r *reader) readTokens(after []byte, limit int) (page []storage.SpentToken, err error) {
	rows, err := r.spendings.QueryContext(uncanceled, after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // reads only
	for rows.Next() {
		var token, id sql.RawBytes
		if err := explainScanError(rows.Scan(&token, &id)); err != nil {
			return nil, err
		}
		if len(token) != len(storage.TokenID{}) || len(id) != len(storage.ID{}) {
			return nil, storefile.CorruptError("a token makes no sense")
		}
		page = append(page, storage.SpentToken{Token: storage.TokenID(token), ID: storage.ID(id)})
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return page, nil
}

// Spend implements [storage.Ledger].
func (s *Store) Spend(ctx context.Context, spendings []storage.SpentToken) error {
	if err := storage.CheckSpend(spendings); err != nil {
		return fmt.Errorf("spend tokens in %s: %w", s.path, err)
	}
	return s.writeBatch(ctx, "spend tokens in", func(b *batch) error {
		for _, x := range spendings {
			if _, err := b.spendToken(x.Token, x.ID); err != nil {
				return err
			}
		}
		return nil
	})
}
