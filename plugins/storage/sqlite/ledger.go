package sqlite

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// A token takes the bytes of its TokenID and of a sequence number. Which envelope it has
// paid for is forgotten with the envelope: no other has the number.

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
	err = s.withSnapshot(ctx, "list the tokens of", func(x snapshot) (err error) {
		page, err = x.readTokens(after, limit)
		return err
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

// readTokens reads tokens after one. With an error it returns what it has read before.
func (x snapshot) readTokens(after []byte, limit int) (page []storage.SpentToken, err error) {
	err = readRows(x.tokens, []any{after, limit}, func(rows *sql.Rows) error {
		var token, id sql.RawBytes
		var paid any
		if err := rows.Scan(&token, &paid, &id); err != nil {
			return err
		}
		t, err := toSpentToken(token, paid, id)
		if err == nil {
			page = append(page, t)
		}
		return err
	})
	return page, err
}

// toSpentToken returns a row of the table tokens. id is that of the envelope in the log, or
// nil.
func toSpentToken(token []byte, paid any, id []byte) (t storage.SpentToken, err error) {
	if len(token) != len(t.Token) {
		return t, errBadToken
	}
	t.Token = storage.TokenID(token)
	switch paid := paid.(type) {
	case int64:
		if id == nil {
			return t, nil // forgotten
		}
	case []byte:
		id = paid
	default:
		return t, errBadToken
	}
	if len(id) != len(t.ID) {
		return t, errBadToken
	}
	t.ID = storage.ID(id)
	return t, nil
}

// checksumOfToken is the CRC-32C of a row of the table tokens: of the token and the id, or the
// sequence number in 8 bytes. Their sum in the table meta finds out whether one has changed or is
// missing, which a row does not tell by itself.
func checksumOfToken(token []byte, paid any) int64 {
	id, ok := paid.([]byte)
	if seq, isSeq := paid.(int64); isSeq && !ok {
		id = binary.BigEndian.AppendUint64(nil, uint64(seq))
	}
	return int64(crc32.Update(crc32.Update(0, castagnoli, token), castagnoli, id))
}

var errBadToken = storefile.CorruptError("a token makes no sense")

// Spend implements [storage.Ledger].
func (s *Store) Spend(ctx context.Context, spendings []storage.SpentToken) error {
	if err := storage.CheckSpend(spendings); err != nil {
		return fmt.Errorf("spend tokens in %s: %w", s.path, err)
	}
	return s.writeBatch(ctx, "spend tokens in", func(b *batch) error {
		for _, x := range spendings {
			if err := b.recordSpending(x); err != nil {
				return err
			}
		}
		return nil
	})
}

// recordSpending spends a token, unless it is spent. It keeps the id of an envelope that is
// not in the log.
func (b *batch) recordSpending(x storage.SpentToken) error {
	e, err := b.findEnvelope(x.ID)
	if err != nil {
		return err
	}
	var paid any = int64(e.seq)
	if e.seq == 0 && x.ID != (storage.ID{}) {
		paid = x.ID[:]
	}
	_, err = b.spendToken(x.Token, paid)
	return err
}
