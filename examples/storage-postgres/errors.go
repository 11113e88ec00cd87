package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// storageErrors are the kinds of errors of PostgreSQL that a relay tells apart, by SQLSTATE
// or its class (postgresql.org/docs/current/errcodes-appendix.html).
var storageErrors = map[string]error{
	"53100": storage.ErrFull,        // disk full
	"08":    storage.ErrUnavailable, // connection
	"25006": storage.ErrUnavailable, // read-only transaction, as on a server that became a standby
	"25P03": storage.ErrUnavailable, // idle in transaction for too long
	"40":    storage.ErrUnavailable, // rolled back, and so again after retries
	"53":    storage.ErrUnavailable, // out of memory or connections
	"55P03": storage.ErrUnavailable, // lock not available
	"57":    storage.ErrUnavailable, // shutdown, crash, start, cancel
	"58":    storage.ErrUnavailable, // I/O
	"23":    storage.ErrCorrupt,     // constraint: the tables contradict the state
	"42P01": storage.ErrCorrupt,     // no such table
	"42703": storage.ErrCorrupt,     // no such column
	"XX001": storage.ErrCorrupt,     // data corrupted
	"XX002": storage.ErrCorrupt,     // index corrupted
}

// explainError gives an error of PostgreSQL its kind. It shows no details, which may hold
// values of a row.
func explainError(ctx context.Context, err error) error {
	var server *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &server):
		kind, ok := storageErrors[server.Code]
		if !ok && len(server.Code) >= 2 {
			kind, ok = storageErrors[server.Code[:2]]
		}
		if ok {
			return fmt.Errorf("%w: PostgreSQL: %s (%s)", kind, server.Message, server.Code)
		}
		return fmt.Errorf("PostgreSQL: %s (%s)", server.Message, server.Code)
	case isKnown(err):
		return err
	}
	return fmt.Errorf("%w: %v", storage.ErrUnavailable, err) // the connection; not %w: a deadline in it is not the caller's
}

// explainError is the function explainError. When the database cannot be reached, it also lets
// go of all connections: after a restart none of them works.
func (s *Store) explainError(ctx context.Context, err error) error {
	explained := explainError(ctx, err)
	if errors.Is(explained, storage.ErrUnavailable) {
		s.pool.Reset()
	}
	return explained
}

// formatError is that the tables have a format of another version of this plugin.
type formatError int

func (f formatError) Error() string {
	return fmt.Sprintf("its tables have format %d, and this plugin knows format %d: use the version of the plugin that made them", int(f), formatVersion)
}

// isKnown reports whether an error has its kind already.
func isKnown(err error) bool {
	if _, ok := errors.AsType[formatError](err); ok {
		return true
	}
	for _, kind := range []error{storage.ErrNotFound, storage.ErrTooLarge, storage.ErrFull, storage.ErrUnavailable, storage.ErrCorrupt} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// isSerialization reports whether a transaction was rolled back because of another one.
func isSerialization(err error) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && (server.Code == "40001" || server.Code == "40P01")
}
