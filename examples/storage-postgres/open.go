package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// formatVersion is that of the tables.
const formatVersion = 1

// createTables makes the tables of a board. The state has one row: with what Info returns,
// so that its cost does not depend on the log, and as the lock of all writers.
//
// An id may be there twice for a while: pruned and not removed yet, and stored again.
// Ciphertexts are random, so PostgreSQL should not try to compress them.
const createTables = `
create table state (
	one     bool primary key default true check (one),
	format  bigint not null,
	home    text   not null,
	epoch   bytea  not null,
	last    bigint not null default 0,
	floor   bigint not null default 0,
	count   bigint not null default 0,
	bytes   bigint not null default 0,
	tokens  bigint not null default 0
);
create table envelopes (
	seq        bigint primary key,
	id         bytea  not null,
	born       bigint not null,
	first_born bigint not null,
	size       bigint not null,
	signature  bytea  not null,
	ciphertext bytea  not null
);
alter table envelopes alter signature set storage external, alter ciphertext set storage external;
create index envelopes_id   on envelopes (id);
create index envelopes_born on envelopes (born, id);
create table signatures (hash bytea primary key, seq bigint not null);
create table tokens     (token bytea primary key, id bytea not null);
create table hours      (hour bigint primary key, count bigint not null, bytes bigint not null);`

// Store is a [storage.Store] in one schema of a database.
type Store struct {
	options options
	log     *slog.Logger
	pool    *pgxpool.Pool
	epoch   storage.Epoch

	stop   context.CancelFunc
	wg     sync.WaitGroup
	broken atomic.Pointer[error] // why the last attempt to listen failed

	mu    sync.Mutex
	woken chan struct{} // closed, and replaced, when the log may have grown
}

var (
	_ storage.Watcher       = (*Store)(nil)
	_ storage.Ledger        = (*Store)(nil)
	_ storage.Pruner        = (*Store)(nil)
	_ storage.Index         = (*Store)(nil)
	_ plugin.HealthReporter = (*Store)(nil)
)

// openStore opens the board in its schema, and creates it in an empty database.
func openStore(ctx context.Context, o options, log *slog.Logger) (*Store, error) {
	if _, err := os.Stat(o.Socket); errors.Is(err, fs.ErrNotExist) {
		return nil, plugin.Invalid("There is no directory "+o.Socket, "Write the unix_socket_directories of PostgreSQL, and grant the plugin the same directory: "+
			fmt.Sprintf("sandbox { sockets = [%q] } in its block.", o.Socket), "socket")
	}
	cfg, err := poolConfig(o)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		return nil, err
	}
	s := &Store{options: o, log: log, pool: pool, woken: make(chan struct{})}
	if err := s.openInTime(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("open %s: %w", o, err)
	}
	run, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.wg.Go(func() { s.followLog(run) })
	return s, nil
}

// openInTime waits for a database that is away for nearly as long as the relay waits for
// the plugin. After ten processes that end within ten minutes the relay would give it up.
func (s *Store) openInTime(ctx context.Context) error {
	for {
		err := s.openBoard(ctx)
		end, bounded := ctx.Deadline()
		if err == nil || !errors.Is(err, storage.ErrUnavailable) || !bounded || time.Until(end) < connectPause+connectTimeout {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(connectPause):
		}
	}
}

// String names the board in errors.
func (o options) String() string {
	return fmt.Sprintf("schema %q of database %q at %s", o.Schema, o.Database, o.socketPath())
}

// poolConfig returns how to connect. The environment and the files of libpq say nothing.
func poolConfig(o options) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig("host=/ sslmode=disable")
	if err != nil {
		return nil, err
	}
	c := cfg.ConnConfig
	c.Host, c.Port, c.Database, c.User, c.Password = o.Socket, uint16(o.Port), o.Database, o.User, ""
	c.Fallbacks, c.ConnectTimeout = nil, connectTimeout
	c.RuntimeParams = map[string]string{
		"application_name":   "cwtch-relay",
		"search_path":        o.Schema,
		"synchronous_commit": "on",
		"timezone":           "UTC",
		// A plan that was made while a table was small must do when it is large.
		"plan_cache_mode": "force_generic_plan",
		"enable_seqscan":  "off",
		"jit":             "off",
		// Whoever dies inside of a transaction must not keep the lock of the board.
		"idle_in_transaction_session_timeout": "10s",
	}
	cfg.MaxConns, cfg.MinConns = int32(o.MaxConns), 1
	cfg.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error { return readPassword(o, c) }
	return cfg, nil
}

// readPassword reads the password for each connection, so that it may be changed.
func readPassword(o options, c *pgx.ConnConfig) error {
	if o.PasswordFile == "" {
		return nil
	}
	text, err := os.ReadFile(o.PasswordFile)
	if err != nil {
		return fmt.Errorf("read the password: %w", err)
	}
	c.Password, _, _ = strings.Cut(string(text), "\n")
	return nil
}

// openBoard connects, checks the server and the format, and makes what is missing.
func (s *Store) openBoard(ctx context.Context) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return explainError(ctx, err)
	}
	defer conn.Release()
	if err := checkServer(ctx, conn); err != nil {
		return err
	}
	return explainError(ctx, pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return s.prepareSchema(ctx, tx) }))
}

// checkServer refuses a server that would acknowledge what it may lose.
func checkServer(ctx context.Context, conn *pgxpool.Conn) error {
	for _, setting := range []string{"fsync", "full_page_writes"} {
		var value string
		if err := conn.QueryRow(ctx, "select current_setting($1)", setting).Scan(&value); err != nil {
			return explainError(ctx, err)
		}
		if value != "on" {
			return fmt.Errorf("PostgreSQL runs with %s = %s, so it may lose what it has acknowledged: write %s = on into postgresql.conf and reload it", setting, value, setting)
		}
	}
	var version int
	var standby bool
	if err := conn.QueryRow(ctx, "select current_setting('server_version_num')::int, pg_is_in_recovery()").Scan(&version, &standby); err != nil {
		return explainError(ctx, err)
	}
	if version < 130000 {
		return fmt.Errorf("PostgreSQL has version number %d; this plugin needs version 13 or a newer one", version)
	}
	if standby {
		return fmt.Errorf("%w: PostgreSQL is a standby, where nothing can be stored: connect to the primary", storage.ErrUnavailable)
	}
	return nil
}

// prepareSchema makes the tables if there are none, and reads the epoch. Only one relay does
// so at a time.
func (s *Store) prepareSchema(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock(hashtextextended('cwtch-relay ' || $1, 0))", s.options.Schema); err != nil {
		return err
	}
	var schema, table bool
	if err := tx.QueryRow(ctx, "select to_regnamespace($1) is not null, to_regclass($1 || '.state') is not null", s.options.Schema).Scan(&schema, &table); err != nil {
		return err
	}
	if !schema {
		if _, err := tx.Exec(ctx, "create schema "+s.options.Schema); err != nil {
			return err
		}
	}
	if !table {
		if err := s.createBoard(ctx, tx); err != nil {
			return err
		}
	}
	return s.readEpoch(ctx, tx)
}

// homeQuery returns what a table has nowhere else: the cluster and the database that it is in,
// and its number there. A table that was restored from a dump, or is in a copy of the database,
// has another one.
const homeQuery = `(select format('%s/%s/%s', system_identifier, pg_database.oid, 'state'::regclass::oid)
	from pg_control_system(), pg_database where datname = current_database())`

func (s *Store) createBoard(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, createTables); err != nil {
		return err
	}
	epoch := storage.NewEpoch()
	_, err := tx.Exec(ctx, "insert into state (format, home, epoch) values ($1, "+homeQuery+", $2)", formatVersion, epoch[:])
	return err
}

// readEpoch reads the epoch. A board that was restored from a dump gets a new one, since it
// may lack envelopes that relays have shown.
func (s *Store) readEpoch(ctx context.Context, tx pgx.Tx) error {
	var format int
	var epoch []byte
	var home bool
	if err := tx.QueryRow(ctx, "select format, epoch, home = "+homeQuery+" from state for update").Scan(&format, &epoch, &home); err != nil {
		return err
	}
	if format != formatVersion {
		return formatError(format)
	}
	if !home {
		fresh := storage.NewEpoch()
		epoch = fresh[:]
		if _, err := tx.Exec(ctx, "update state set home = "+homeQuery+", epoch = $1", epoch); err != nil {
			return err
		}
		s.log.Warn("the tables of the board were restored from a dump: the board has a new epoch, and a server that has run refuses it until you accept that")
	}
	s.epoch = storage.Epoch(epoch)
	return nil
}

// Close implements [storage.Store].
func (s *Store) Close() error {
	s.stop()
	s.wg.Wait()
	s.pool.Close()
	return nil
}

// Health implements [plugin.HealthReporter].
func (s *Store) Health(context.Context) string {
	if err := s.broken.Load(); err != nil {
		return "PostgreSQL cannot be reached, will keep trying: " + (*err).Error()
	}
	return ""
}
