package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Spendings implements [storage.Ledger].
func (s *Store) Spendings(ctx context.Context, req storage.SpendingsRequest) (page []storage.Spending, err error) {
	limit, err := req.Bound()
	if err != nil {
		return nil, fmt.Errorf("list the tokens of %s: %w", s.path, err)
	}
	after := []byte{} // comes before any token
	if req.After != nil {
		after = req.After[:]
	}
	err = s.read(ctx, "list the tokens of", func() (err error) {
		page, err = s.reader.tokens(after, limit)
		return err
	})
	return page, err
}

func (r *reader) tokens(after []byte, limit int) (page []storage.Spending, err error) {
	rows, err := r.spendings.QueryContext(ever, after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // reads only
	for rows.Next() {
		var token, id sql.RawBytes
		if err := scanned(rows.Scan(&token, &id)); err != nil {
			return nil, err
		}
		if len(token) != len(storage.TokenID{}) || len(id) != len(storage.ID{}) {
			return nil, damaged("a token makes no sense")
		}
		page = append(page, storage.Spending{Token: storage.TokenID(token), ID: storage.ID(id)})
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return page, nil
}

// Spend implements [storage.Ledger].
func (s *Store) Spend(ctx context.Context, spendings []storage.Spending) error {
	if err := storage.CheckSpend(spendings); err != nil {
		return fmt.Errorf("spend tokens in %s: %w", s.path, err)
	}
	return s.write(ctx, "spend tokens in", func(b *batch) error {
		for _, x := range spendings {
			if _, err := b.pay(x.Token, x.ID); err != nil {
				return err
			}
		}
		return nil
	})
}
