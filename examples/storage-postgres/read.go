package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Every method here is one statement, and so sees the board as it is at one moment.

// Info implements [storage.Store]. Bytes is the size of all tables and indexes.
func (s *Store) Info(ctx context.Context) (storage.Info, error) {
	if err := ctx.Err(); err != nil {
		return storage.Info{}, err
	}
	var epoch []byte
	var i storage.Info
	err := s.pool.QueryRow(ctx, `select epoch, last, count, tokens, floor,
		coalesce((select seq from envelopes where born >= floor order by seq limit 1), 0),
		(select sum(pg_total_relation_size(name::regclass)) from unnest(array['envelopes', 'signatures', 'tokens', 'hours', 'state']) as name)::bigint
		from state`).Scan(&epoch, &i.Last, &i.Count, &i.Tokens, &i.Floor, &i.First, &i.Bytes)
	if errors.Is(err, pgx.ErrNoRows) {
		err = fmt.Errorf("%w: the table state is empty", storage.ErrCorrupt)
	}
	if err != nil {
		return storage.Info{}, fmt.Errorf("info: %w", s.explainError(ctx, err))
	}
	if i.Epoch = storage.Epoch(epoch); i.Epoch != s.epoch {
		return storage.Info{}, fmt.Errorf("info: %w: the board got another epoch while this relay used it", storage.ErrCorrupt)
	}
	return i, nil
}

// readPage is the state joined with a page of the log, so that there is a row with the end
// of the log even if the page is empty.
const readPage = `
select state.last, page.* from state left join lateral (
	select seq, id, born, signature, ciphertext from (
		select *, sum(size) over (order by seq) as total, row_number() over (order by seq) as nth from (
			select * from envelopes where seq >= $1 and born >= state.floor order by seq limit $2
		) as found
	) as counted where total <= $3 or nth = 1 order by seq
) as page on true`

// Log implements [storage.Store].
func (s *Store) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	from, entries, size, err := req.Bounds()
	if err != nil {
		return storage.Page{}, fmt.Errorf("log: %w", err)
	}
	rows, err := s.query(ctx, readPage, int64(min(from, math.MaxInt64)), entries, size)
	if err != nil {
		return storage.Page{}, fmt.Errorf("log: %w", err)
	}
	var page storage.Page
	err = scanRows(rows, func() error {
		var seq, born *int64
		var id []byte
		var e storage.Entry
		if err := rows.Scan(&page.Last, &seq, &id, &born, &e.Signature, &e.Ciphertext); err != nil || seq == nil {
			return err
		}
		e.Seq, e.ID, e.Born = storage.Seq(*seq), storage.ID(id), storage.Hour(*born)
		page.Entries = append(page.Entries, e)
		return nil
	})
	if err != nil {
		return storage.Page{}, fmt.Errorf("log: %w", s.explainError(ctx, err))
	}
	return page, nil
}

// Find implements [storage.Store].
func (s *Store) Find(ctx context.Context, signature []byte) (storage.Seq, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if len(signature) > storage.MaxEnvelope {
		return 0, fmt.Errorf("find a signature of %d bytes: %w", len(signature), storage.ErrTooLarge)
	}
	hash := sha256.Sum256(signature)
	var seq storage.Seq
	err := s.pool.QueryRow(ctx, "select seq from signatures where hash = $1 and "+isFirst, hash[:]).Scan(&seq)
	if errors.Is(err, pgx.ErrNoRows) {
		err = storage.ErrNotFound
	}
	if err != nil {
		return 0, fmt.Errorf("find: %w", s.explainError(ctx, err))
	}
	return seq, nil
}

// Keys implements [storage.Index].
func (s *Store) Keys(ctx context.Context, req storage.KeysRequest) ([]storage.Key, error) {
	limit, err := req.Bound()
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	lo, hi := req.Range.Lo, req.Range.Hi
	if hi == (storage.Key{}) {
		hi.Born = math.MaxUint32 // with a longer id than there is, behind every key
	}
	end := hi.ID[:]
	if req.Range.Hi == (storage.Key{}) {
		end = make([]byte, len(hi.ID)+1)
		for i := range end {
			end[i] = 0xff
		}
	}
	rows, err := s.query(ctx, "select born, id from envelopes where (born, id) >= ($1, $2) and (born, id) < ($3, $4) and born >= (select floor from state) order by born, id limit $5",
		int64(lo.Born), lo.ID[:], int64(hi.Born), end, limit)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	var out []storage.Key
	err = scanRows(rows, func() error {
		var k storage.Key
		var id []byte
		err := rows.Scan(&k.Born, &id)
		if err == nil {
			k.ID = storage.ID(id)
			out = append(out, k)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("keys: %w", s.explainError(ctx, err))
	}
	return out, nil
}

// readIDs finds envelopes by ids and keeps the order of these.
const readIDs = `
select seq, id, born, signature, ciphertext from (
	select envelopes.*, nth, sum(size) over (order by nth) as total, row_number() over (order by nth) as place
	from unnest($1::bytea[]) with ordinality as wanted(want, nth) join envelopes on id = want and born >= (select floor from state)
) as counted where total <= $2 or place = 1 order by nth`

// Get implements [storage.Index].
func (s *Store) Get(ctx context.Context, ids []storage.ID) ([]storage.Entry, error) {
	if err := storage.CheckGet(ids); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	wanted := make([][]byte, len(ids))
	for i := range ids {
		wanted[i] = ids[i][:]
	}
	rows, err := s.query(ctx, readIDs, wanted, storage.PageBytes)
	if err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	var out []storage.Entry
	err = scanRows(rows, func() error {
		var id []byte
		var e storage.Entry
		err := rows.Scan(&e.Seq, &id, &e.Born, &e.Signature, &e.Ciphertext)
		if err == nil {
			e.ID = storage.ID(id)
			out = append(out, e)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("get: %w", s.explainError(ctx, err))
	}
	return out, nil
}
