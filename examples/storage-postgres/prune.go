package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Hours implements [storage.Pruner].
func (s *Store) Hours(ctx context.Context, req storage.HoursRequest) ([]storage.HourSize, error) {
	limit, err := req.Bound()
	if err != nil {
		return nil, fmt.Errorf("hours: %w", err)
	}
	rows, err := s.query(ctx, "select hour, count, bytes from hours where hour >= greatest($1, (select floor from state)) order by hour limit $2", int64(req.From), limit)
	if err != nil {
		return nil, fmt.Errorf("hours: %w", err)
	}
	var out []storage.HourSize
	err = scanRows(rows, func() error {
		var h storage.HourSize
		err := rows.Scan(&h.Hour, &h.Count, &h.Bytes)
		out = append(out, h)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("hours: %w", s.explainError(ctx, err))
	}
	return out, nil
}

// raiseFloor raises the floor, and takes what is below it out of what Info counts.
const raiseFloor = `
with gone as (
	select coalesce(sum(hours.count), 0) as count, coalesce(sum(hours.bytes), 0) as bytes from hours, state where hour >= floor and hour < $1
)
update state set floor = $1, count = state.count - gone.count, bytes = state.bytes - gone.bytes from gone where floor < $1`

// removePruned removes envelopes below the floor, with their signatures and from their hours.
const removePruned = `
with gone as (
	delete from envelopes where seq = any(array(select seq from envelopes where born < (select floor from state) order by born, id limit $1))
	returning seq, born, size, signature
), forgotten as (
	delete from signatures using gone where signatures.hash = sha256(gone.signature) and signatures.seq = gone.seq
), parts as (
	select born, count(*) as count, sum(size) as bytes from gone group by born
), smaller as (
	update hours set count = hours.count - parts.count, bytes = hours.bytes - parts.bytes from parts where hour = parts.born
)
select count(*), coalesce(sum(size), 0)::bigint from gone`

// Prune implements [storage.Pruner]. What it removes is free for reuse after a vacuum, and not
// overwritten before something else takes its place; see the README.
func (s *Store) Prune(ctx context.Context, req storage.PruneRequest) (storage.Pruned, error) {
	if err := ctx.Err(); err != nil {
		return storage.Pruned{}, err
	}
	limit, err := req.Bound()
	if err != nil {
		return storage.Pruned{}, fmt.Errorf("prune: %w", err)
	}
	var p storage.Pruned
	err = s.runTransaction(ctx, func(conn *pgxpool.Conn) error {
		p = storage.Pruned{}
		var q pgx.Batch
		q.Queue("begin")
		q.Queue(lockState)
		q.Queue(raiseFloor, int64(req.Floor))
		q.Queue(removePruned, limit).QueryRow(func(row pgx.Row) error { return row.Scan(&p.Envelopes, &p.Bytes) })
		q.Queue("delete from hours where count = 0")
		q.Queue("select floor, exists (select from envelopes where born < floor) from state").QueryRow(func(row pgx.Row) error {
			return row.Scan(&p.Floor, &p.More)
		})
		q.Queue("commit")
		return conn.SendBatch(ctx, &q).Close()
	})
	if err != nil {
		return storage.Pruned{}, fmt.Errorf("prune: %w", err)
	}
	return p, nil
}
