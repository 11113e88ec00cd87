package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// lockState locks the board for this transaction, before anything else is read: each
// statement after it sees all that earlier owners of the lock have committed.
const lockState = "select last, floor, count, bytes, tokens from state for update"

// maxTries bounds how often a transaction begins that others have rolled back. The lock
// leaves no reason for that but one of the administrator's.
const maxTries = 3

// Append implements [storage.Store]. It goes to the server twice: once to lock the board
// and to read what the batch meets, and once to write, commit and wake.
func (s *Store) Append(ctx context.Context, records []storage.Record) ([]storage.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := storage.CheckBatch(records); err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	if len(records) == 0 {
		return nil, nil
	}
	var outcomes []storage.Outcome
	err := s.runTransaction(ctx, func(conn *pgxpool.Conn) (err error) {
		outcomes, err = s.appendOnce(ctx, conn, records)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	return outcomes, nil
}

// runTransaction calls run with a connection, again if another transaction rolled it back.
// A connection that is left inside of a transaction is closed, which rolls it back.
func (s *Store) runTransaction(ctx context.Context, run func(*pgxpool.Conn) error) error {
	for try := 1; ; try++ {
		err := s.withConn(ctx, run)
		if !isSerialization(err) || try == maxTries {
			return s.explainError(ctx, err)
		}
	}
}

func (s *Store) withConn(ctx context.Context, run func(*pgxpool.Conn) error) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return run(conn)
}

func (s *Store) appendOnce(ctx context.Context, conn *pgxpool.Conn, records []storage.Record) ([]storage.Outcome, error) {
	b, err := readBatch(ctx, conn, records)
	if err != nil {
		return nil, err
	}
	outcomes := make([]storage.Outcome, len(records))
	for i := range records {
		outcomes[i] = b.applyRecord(&records[i])
	}
	if b.after == b.before && len(b.moved) == 0 {
		_, err := conn.Exec(ctx, "rollback")
		return outcomes, err
	}
	return outcomes, b.write(ctx, conn, s.channel())
}

// state is the row that all writers lock.
type state struct {
	last                 int64
	floor                int64
	count, bytes, tokens int64
}

func (st *state) scanRow(row pgx.Row) error {
	err := row.Scan(&st.last, &st.floor, &st.count, &st.bytes, &st.tokens)
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("%w: the table state is empty", storage.ErrCorrupt)
	}
	return err
}

// envelope is what a batch knows of an envelope that is in the log, or will be.
type envelope struct {
	seq         int64
	first, born storage.Hour
	size        int64
	record      *storage.Record // nil if it was in the log before
}

// batch is an append under way.
type batch struct {
	before, after state
	spent         map[storage.TokenID]storage.ID
	known         map[storage.ID]*envelope
	signed        map[[sha256.Size]byte]bool

	tokens []storage.SpentToken
	fresh  []*envelope
	moved  map[int64]storage.Hour      // from the seq of an earlier envelope to its new Born
	hours  map[storage.Hour]hourChange // what the table hours lacks
}

// hourChange is what a batch changes in an hour.
type hourChange struct{ count, bytes int64 }

// readBatch begins a transaction, locks the board and reads all that the records meet.
func readBatch(ctx context.Context, conn *pgxpool.Conn, records []storage.Record) (*batch, error) {
	var tokens, ids, hashes [][]byte
	for i := range records {
		r := &records[i]
		if r.Nullifier != nil {
			token := storage.NewTokenID(*r.Nullifier)
			tokens = append(tokens, token[:])
		}
		hash := sha256.Sum256(r.Signature)
		ids, hashes = append(ids, r.ID[:]), append(hashes, hash[:])
	}
	b := &batch{
		spent: make(map[storage.TokenID]storage.ID), known: make(map[storage.ID]*envelope), signed: make(map[[sha256.Size]byte]bool),
		moved: make(map[int64]storage.Hour), hours: make(map[storage.Hour]hourChange),
	}
	var q pgx.Batch
	q.Queue("begin")
	q.Queue(lockState).QueryRow(b.before.scanRow)
	q.Queue("select token, id from tokens where token = any($1)", tokens).Query(func(rows pgx.Rows) error {
		return scanRows(rows, func() error {
			var token, id []byte
			err := rows.Scan(&token, &id)
			if err == nil {
				b.spent[storage.TokenID(token)] = storage.ID(id)
			}
			return err
		})
	})
	q.Queue("select id, seq, first_born, born, size from envelopes where id = any($1) and born >= (select floor from state)", ids).Query(func(rows pgx.Rows) error {
		return scanRows(rows, func() error {
			var id []byte
			e := &envelope{}
			err := rows.Scan(&id, &e.seq, &e.first, &e.born, &e.size)
			if err == nil {
				b.known[storage.ID(id)] = e
			}
			return err
		})
	})
	q.Queue("select hash from signatures where hash = any($1) and "+isFirst, hashes).Query(func(rows pgx.Rows) error {
		return scanRows(rows, func() error {
			var hash []byte
			err := rows.Scan(&hash)
			if err == nil {
				b.signed[[sha256.Size]byte(hash)] = true
			}
			return err
		})
	})
	err := conn.SendBatch(ctx, &q).Close()
	b.after = b.before
	return b, err
}

// isFirst says that the envelope that a signature leads to is in the log.
const isFirst = "exists (select from envelopes where envelopes.seq = signatures.seq and born >= (select floor from state))"

func scanRows(rows pgx.Rows, scan func() error) error {
	for rows.Next() {
		if err := scan(); err != nil {
			return err
		}
	}
	return rows.Err()
}

// applyRecord returns the outcome of a record and notes what it changes.
func (b *batch) applyRecord(r *storage.Record) storage.Outcome {
	e := b.known[r.ID]
	var token storage.TokenID
	if r.Nullifier != nil {
		token = storage.NewTokenID(*r.Nullifier)
		switch paid, spent := b.spent[token]; {
		case spent && paid == r.ID && e != nil:
			return storage.Outcome{Status: storage.Replayed, Seq: storage.Seq(e.seq)}
		case spent:
			return storage.Outcome{Status: storage.Spent}
		}
	}
	if int64(r.Born) < b.before.floor {
		return storage.Outcome{Status: storage.Expired}
	}
	hash := sha256.Sum256(r.Signature)
	if r.Nullifier != nil {
		if e == nil && b.signed[hash] && len(r.Signature) > 0 {
			return storage.Outcome{Status: storage.Conflict}
		}
		b.spent[token] = r.ID
		b.tokens = append(b.tokens, storage.SpentToken{Token: token, ID: r.ID})
		b.after.tokens++
	}
	if e != nil {
		b.lowerBorn(e, r.Born)
		return storage.Outcome{Status: storage.Duplicate, Seq: storage.Seq(e.seq)}
	}
	b.after.last++
	e = &envelope{seq: b.after.last, first: r.Born, born: r.Born, size: int64(len(r.Signature) + len(r.Ciphertext)), record: r}
	b.known[r.ID] = e
	b.fresh = append(b.fresh, e)
	b.signed[hash] = true
	b.after.count++
	b.after.bytes += e.size
	b.changeHour(e.born, 1, e.size)
	return storage.Outcome{Status: storage.Stored, Seq: storage.Seq(e.seq)}
}

func (b *batch) lowerBorn(e *envelope, other storage.Hour) {
	born := storage.LowerBorn(e.first, e.born, other)
	if born == e.born {
		return
	}
	b.changeHour(e.born, -1, -e.size)
	b.changeHour(born, 1, e.size)
	e.born = born
	if e.record == nil {
		b.moved[e.seq] = born
	}
}

func (b *batch) changeHour(at storage.Hour, count, bytes int64) {
	h := b.hours[at]
	h = hourChange{h.count + count, h.bytes + bytes}
	if b.hours[at] = h; h == (hourChange{}) {
		delete(b.hours, at) // of an envelope that the batch has moved again
	}
}

// write writes the changes, commits them, and then wakes the relays. A notification within
// the transaction would make the commits of all boards of the server wait for each other.
func (b *batch) write(ctx context.Context, conn *pgxpool.Conn, channel string) error {
	var q pgx.Batch
	b.queueFresh(&q)
	if len(b.tokens) > 0 {
		tokens, ids := splitTokens(b.tokens)
		q.Queue("insert into tokens select * from unnest($1::bytea[], $2::bytea[])", tokens, ids)
	}
	if len(b.moved) > 0 {
		seqs := slices.Sorted(maps.Keys(b.moved))
		born := make([]int64, len(seqs))
		for i, seq := range seqs {
			born[i] = int64(b.moved[seq])
		}
		q.Queue("update envelopes set born = new.born from unnest($1::bigint[], $2::bigint[]) as new(seq, born) where envelopes.seq = new.seq", seqs, born)
	}
	if len(b.hours) > 0 {
		hours := slices.Sorted(maps.Keys(b.hours))
		count, bytes, at := make([]int64, len(hours)), make([]int64, len(hours)), make([]int64, len(hours))
		for i, h := range hours {
			at[i], count[i], bytes[i] = int64(h), b.hours[h].count, b.hours[h].bytes
		}
		q.Queue("insert into hours select * from unnest($1::bigint[], $2::bigint[], $3::bigint[]) "+
			"on conflict (hour) do update set count = hours.count + excluded.count, bytes = hours.bytes + excluded.bytes", at, count, bytes)
	}
	if len(b.moved) > 0 {
		q.Queue("delete from hours where count = 0")
	}
	q.Queue("update state set last = $1, count = $2, bytes = $3, tokens = $4", b.after.last, b.after.count, b.after.bytes, b.after.tokens)
	q.Queue("commit")
	if len(b.fresh) > 0 {
		q.Queue("select pg_notify($1, '')", channel)
	}
	return conn.SendBatch(ctx, &q).Close()
}

// queueFresh queues the new envelopes and the signatures that they are the first of.
func (b *batch) queueFresh(q *pgx.Batch) {
	if len(b.fresh) == 0 {
		return
	}
	var seqs, born, first, sizes []int64
	var ids, signatures, ciphertexts [][]byte
	for _, e := range b.fresh {
		seqs, born, first, sizes = append(seqs, e.seq), append(born, int64(e.born)), append(first, int64(e.first)), append(sizes, e.size)
		ids = append(ids, e.record.ID[:])
		signatures, ciphertexts = append(signatures, notNil(e.record.Signature)), append(ciphertexts, notNil(e.record.Ciphertext))
	}
	q.Queue("insert into envelopes (seq, id, born, first_born, size, signature, ciphertext) "+
		"select * from unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[], $7::bytea[])",
		seqs, ids, born, first, sizes, signatures, ciphertexts)
	// The first one of the batch stays, and one that is in the log; one that is pruned does not.
	q.Queue("insert into signatures select sha256(signature), min(seq) from unnest($1::bytea[], $2::bigint[]) as new(signature, seq) group by signature "+
		"on conflict (hash) do update set seq = excluded.seq where not "+isFirst, signatures, seqs)
}

// notNil returns bytes that are not NULL.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func splitTokens(spent []storage.SpentToken) (tokens, ids [][]byte) {
	for i := range spent {
		tokens, ids = append(tokens, spent[i].Token[:]), append(ids, spent[i].ID[:])
	}
	return tokens, ids
}
