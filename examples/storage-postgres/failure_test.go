package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// newRecord returns a record with random bytes and a token of its own.
func newRecord() storage.Record {
	body := make([]byte, 300)
	for i := range body {
		body[i] = byte(rand.Uint32())
	}
	r := storage.Record{Signature: body[:64], Ciphertext: body[64:], Born: 500_000, Nullifier: new(storage.Nullifier)}
	r.ID = storage.NewID(r.Signature, r.Ciphertext)
	for i := range r.Nullifier {
		r.Nullifier[i] = byte(rand.Uint32())
	}
	return r
}

func newRecords(n int) (out []storage.Record) {
	for range n {
		out = append(out, newRecord())
	}
	return out
}

// open opens the plugin within this process.
func (s *server) open(tb testing.TB, dir string) *Store {
	tb.Helper()
	store, err := s.tryOpen(tb, dir, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { store.Close() })
	return store
}

func (s *server) tryOpen(tb testing.TB, dir string, log *slog.Logger, change ...string) (*Store, error) {
	tb.Helper()
	values := s.config(dir)
	for i := 0; i < len(change); i += 2 {
		values[change[i]] = change[i+1]
	}
	v, err := postgresSchema.Value(values)
	if err != nil {
		tb.Fatal(err)
	}
	cfg, err := plugin.NewConfig(postgresSchema, v, dir, log)
	if err != nil {
		tb.Fatal(err)
	}
	store, err := newPlugin().Storage(tb.Context(), cfg)
	if err != nil {
		return nil, err
	}
	return store.(*Store), nil
}

// mustAppend appends records and requires one outcome for all.
func mustAppend(tb testing.TB, s storage.Store, want storage.OutcomeStatus, records ...storage.Record) []storage.Outcome {
	tb.Helper()
	outcomes, err := s.Append(tb.Context(), records)
	if err != nil {
		tb.Fatal(err)
	}
	for _, o := range outcomes {
		if o.Status != want {
			tb.Fatalf("an envelope is %v, want %v", o.Status, want)
		}
	}
	return outcomes
}

// readAll reads the whole log.
func readAll(tb testing.TB, s storage.Store) (entries []storage.Entry) {
	tb.Helper()
	for {
		page, err := s.Log(context.Background(), storage.LogRequest{From: storage.Seq(len(entries) + 1)})
		if err != nil {
			tb.Fatal(err)
		}
		if len(page.Entries) == 0 {
			return entries
		}
		for _, e := range page.Entries {
			if e.Seq != storage.Seq(len(entries)+1) {
				tb.Fatalf("entry %d follows %d", e.Seq, len(entries))
			}
			entries = append(entries, e)
		}
	}
}

// kills is how often TestDatabaseKilled kills the database.
var kills = flag.Int("kills", 6, "how often to kill the database")

// TestDatabaseKilled kills PostgreSQL with all its processes while several writers append and
// one prunes, and starts it again. The plugins stay.
func TestDatabaseKilled(t *testing.T) {
	s := startServer(t)
	dir := t.TempDir()
	k := &killTest{T: t, stores: []*Store{s.open(t, dir), s.open(t, dir)}, acknowledged: make(map[storage.Seq]storage.Record)}
	for range *kills {
		k.round++
		cuts := k.workUntil(s.kill)
		s.start()
		for _, cut := range cuts {
			k.settle(cut)
		}
	}
	k.compareLog()
}

// killTest has writers on one board and knows what they were told.
type killTest struct {
	*testing.T
	stores []*Store
	round  int

	mu           sync.Mutex
	acknowledged map[storage.Seq]storage.Record
	floor        storage.Hour // that a Prune has returned
}

// killBase is the lowest hour of the envelopes.
const killBase = 500_000

// newBatch returns records of the last and the next hours.
func (k *killTest) newBatch() []storage.Record {
	batch := newRecords(1 + rand.IntN(20))
	for i := range batch {
		batch[i].Born = storage.Hour(killBase + k.round + rand.IntN(10))
	}
	return batch
}

// workUntil appends and prunes, kills the database meanwhile, and returns the batches that
// were cut off.
func (k *killTest) workUntil(kill func()) [][]storage.Record {
	var wg sync.WaitGroup
	begun := make(chan struct{}, 1)
	cuts := make([][]storage.Record, 4)
	for i := range cuts {
		wg.Go(func() {
			for {
				batch := k.newBatch()
				outcomes, err := k.stores[i%2].Append(k.Context(), batch)
				if k.isCut(err) {
					cuts[i] = batch
					return
				}
				k.note(batch, outcomes)
				select {
				case begun <- struct{}{}:
				default:
				}
			}
		})
	}
	wg.Go(func() {
		for {
			p, err := k.stores[0].Prune(k.Context(), storage.PruneRequest{Floor: storage.Hour(killBase + k.round), Max: 8})
			if k.isCut(err) {
				return
			}
			k.mu.Lock()
			k.floor = max(k.floor, p.Floor)
			k.mu.Unlock()
		}
	})
	for range 3 + rand.IntN(8) {
		<-begun
	}
	kill()
	wg.Wait()
	return cuts
}

// isCut reports whether a call has failed, which it does with the database.
func (k *killTest) isCut(err error) bool {
	if err != nil && !errors.Is(err, storage.ErrUnavailable) {
		k.Errorf("a call of a database that was killed: %v, want ErrUnavailable", err)
	}
	return err != nil
}

// note notes what a batch was told.
func (k *killTest) note(batch []storage.Record, outcomes []storage.Outcome) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, o := range outcomes {
		switch pruned := batch[i].Born < killBase+storage.Hour(k.round); {
		case o.Status == storage.Stored || o.Status == storage.Replayed:
			if known, twice := k.acknowledged[o.Seq]; twice && known.ID != batch[i].ID {
				k.Errorf("two envelopes were stored at %d", o.Seq)
			}
			k.acknowledged[o.Seq] = batch[i]
		case pruned && (o.Status == storage.Expired || o.Status == storage.Spent):
		default:
			k.Errorf("an envelope is %v", o.Status)
		}
	}
}

// settle appends a batch again that was cut off, as a relay does.
func (k *killTest) settle(cut []storage.Record) { k.note(cut, appendInTime(k.T, k.stores[1], cut)) }

// compareLog compares the log with what was acknowledged, and spends all tokens again.
func (k *killTest) compareLog() {
	batch := k.newBatch()
	k.note(batch, appendInTime(k.T, k.stores[0], batch))
	info, err := k.stores[0].Info(k.Context())
	if err != nil || info.Floor < k.floor {
		k.Fatalf("info is %+v, %v, and the floor was %d", info, err, k.floor)
	}
	found := make(map[storage.Seq]storage.Entry)
	for from := storage.Seq(1); ; {
		page, err := k.stores[1].Log(k.Context(), storage.LogRequest{From: from})
		if err != nil {
			k.Fatal(err)
		}
		if len(page.Entries) == 0 {
			break
		}
		for _, e := range page.Entries {
			found[e.Seq] = e
			from = e.Seq + 1
		}
	}
	var again []storage.Record
	for seq, r := range k.acknowledged {
		e, there := found[seq]
		switch {
		case r.Born < info.Floor && there:
			k.Errorf("envelope %d is there, and below the floor", seq)
		case r.Born >= info.Floor && (e.ID != r.ID || !bytes.Equal(e.Ciphertext, r.Ciphertext)):
			k.Errorf("envelope %d is not what was acknowledged", seq)
		}
		delete(found, seq)
		twice := newRecord()
		twice.Born, twice.Nullifier = killBase*2, r.Nullifier
		again = append(again, twice)
	}
	if len(found) > 0 {
		k.Errorf("%d envelopes are there that nobody was told of", len(found))
	}
	for part := range slices.Chunk(again, storage.MaxBatch) {
		mustAppend(k.T, k.stores[1], storage.Spent, part...)
	}
	k.Logf("%d envelopes over %d kills, floor %d", len(k.acknowledged), *kills, info.Floor-killBase)
}

// appendInTime appends until the store is back.
func appendInTime(tb testing.TB, s *Store, batch []storage.Record) []storage.Outcome {
	tb.Helper()
	for end := time.Now().Add(startTimeout); ; {
		outcomes, err := s.Append(tb.Context(), batch)
		if err == nil {
			return outcomes
		}
		if !errors.Is(err, storage.ErrUnavailable) || time.Now().After(end) {
			tb.Fatalf("append after the database is back: %v", err)
		}
	}
}

// TestServersThatLose shows which servers are refused.
func TestServersThatLose(t *testing.T) {
	for _, setting := range []string{"fsync", "full_page_writes"} {
		s := startServer(t, setting+"=off")
		_, err := s.tryOpen(t, t.TempDir(), slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), setting+" = off") || errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("with %s = off: %v", setting, err)
		}
	}
}

// TestAsynchronousDefault shows that the plugin waits for its commits whatever the role, the
// database and the server have as a default.
func TestAsynchronousDefault(t *testing.T) {
	s := startServer(t, "synchronous_commit=off")
	s.exec("postgres", "alter role cwtch_relay set synchronous_commit = off")
	s.exec("postgres", "alter database cwtch_relay set synchronous_commit = off")
	store := s.open(t, t.TempDir())
	var got string
	if err := store.pool.QueryRow(t.Context(), "show synchronous_commit").Scan(&got); err != nil || got != "on" {
		t.Errorf("synchronous_commit is %q, %v", got, err)
	}
}

// TestServerErrors shows what a relay is told of errors of PostgreSQL, and that they change
// nothing.
func TestServerErrors(t *testing.T) {
	s := startServer(t)
	dir := t.TempDir()
	store := s.open(t, dir)
	schema := schemaOf(dir)
	first := newRecord()
	mustAppend(t, store, storage.Stored, first)
	for code, want := range map[string]error{
		"53100": storage.ErrFull, "53200": storage.ErrUnavailable, "40001": storage.ErrUnavailable, "XX001": storage.ErrCorrupt, "25006": storage.ErrUnavailable,
	} {
		s.exec("cwtch_relay", fmt.Sprintf(`create function %[1]s.fail() returns trigger language plpgsql as $$ begin raise exception 'no' using errcode = '%[2]s', detail = 'secret'; end $$;
			create trigger fail before insert on %[1]s.envelopes execute function %[1]s.fail()`, schema, code))
		before, _ := store.Info(t.Context())
		refused := newRecord()
		_, err := store.Append(t.Context(), []storage.Record{refused})
		if !errors.Is(err, want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %v", code, err, want)
		}
		if after, err := store.Info(t.Context()); after.Last != before.Last || after.Tokens != before.Tokens || err != nil {
			t.Errorf("%s: info was %+v and is %+v, %v", code, before, after, err)
		}
		s.exec("cwtch_relay", fmt.Sprintf("drop function %s.fail cascade", schema))
		mustAppend(t, store, storage.Stored, refused)
	}
}

// TestTransactionsAreRepeated shows that a transaction that PostgreSQL rolls back because of
// another one begins again by itself.
func TestTransactionsAreRepeated(t *testing.T) {
	s := startServer(t)
	dir := t.TempDir()
	store := s.open(t, dir)
	s.exec("cwtch_relay", fmt.Sprintf(`create sequence %[1]s.tries; grant usage on sequence %[1]s.tries to cwtch_relay;
		create function %[1]s.fail() returns trigger language plpgsql as $$ begin
			if nextval('%[1]s.tries') < %[2]d then raise exception 'no' using errcode = '40P01'; end if;
			return null;
		end $$;
		create trigger fail before insert on %[1]s.envelopes execute function %[1]s.fail()`, schemaOf(dir), maxTries))
	mustAppend(t, store, storage.Stored, newRecord())
	if tries := s.ask("select last_value::text from " + schemaOf(dir) + ".tries"); tries != fmt.Sprint(maxTries) {
		t.Errorf("the transaction began %s times, want %d", tries, maxTries)
	}
}

// TestBoardsAreApart shows that boards in one database have nothing to do with each other,
// and that a second process of the same board does.
func TestBoardsAreApart(t *testing.T) {
	s := startServer(t)
	dir := t.TempDir()
	one, same, other := s.open(t, dir), s.open(t, dir), s.open(t, t.TempDir())
	r := newRecord()
	mustAppend(t, one, storage.Stored, r)
	mustAppend(t, other, storage.Stored, r)
	mustAppend(t, same, storage.Replayed, r)
	infos := make([]storage.Info, 3)
	for i, store := range []*Store{one, same, other} {
		infos[i], _ = store.Info(t.Context())
	}
	if infos[0] != infos[1] || infos[0].Epoch == infos[2].Epoch {
		t.Errorf("infos are %+v", infos)
	}
}

// TestRestoredDump shows that a board gets another epoch when a dump of it is restored, in the
// same server and in another one, and keeps it from then on.
func TestRestoredDump(t *testing.T) {
	s, elsewhere := startServer(t), startServer(t)
	dir := t.TempDir()
	store := s.open(t, dir)
	mustAppend(t, store, storage.Stored, newRecords(5)...)
	before, _ := store.Info(t.Context())
	store.Close()
	dump := filepath.Join(s.dir, "dump.sql")
	out, err := s.command("pg_dump", "-h", s.socketDir(), "-U", "admin", "-f", dump, "cwtch_relay").CombinedOutput()
	if err != nil {
		t.Fatalf("pg_dump: %v\n%s", err, out)
	}
	s.exec("postgres", "alter database cwtch_relay rename to old")
	s.exec("postgres", "create database cwtch_relay template old owner cwtch_relay")
	copied := s.open(t, dir)
	if after, err := copied.Info(t.Context()); err != nil || after.Epoch == before.Epoch || after.Last != before.Last {
		t.Errorf("info in a copy of the database was %+v and is %+v, %v", before, after, err)
	}
	copied.Close()
	s.exec("cwtch_relay", "drop schema "+schemaOf(dir)+" cascade")
	for _, to := range []*server{s, elsewhere} {
		out, err := to.command("psql", "-h", to.socketDir(), "-U", "admin", "-q", "-v", "ON_ERROR_STOP=1", "-f", dump, "cwtch_relay").CombinedOutput()
		if err != nil {
			t.Fatalf("psql: %v\n%s", err, out)
		}
		restored := to.open(t, dir)
		after, err := restored.Info(t.Context())
		if err != nil || after.Epoch == before.Epoch || after.Last != before.Last || after.Tokens != before.Tokens {
			t.Errorf("info was %+v and is %+v, %v", before, after, err)
		}
		again, _ := to.open(t, dir).Info(t.Context())
		if again != after {
			t.Errorf("info is %+v, and then %+v", after, again)
		}
	}
}

// TestOtherFormat shows that tables of another version are left alone.
func TestOtherFormat(t *testing.T) {
	s := startServer(t)
	dir := t.TempDir()
	s.open(t, dir)
	s.exec("cwtch_relay", "update "+schemaOf(dir)+".state set format = 2")
	_, err := s.tryOpen(t, dir, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "format 2") || errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("open tables of another format: %v", err)
	}
}

// TestPasswordIsNotLogged shows what is said of a wrong password, and that a new one is read
// without a new process.
func TestPasswordIsNotLogged(t *testing.T) {
	s := startServer(t)
	dir := t.TempDir()
	var log bytes.Buffer
	const wrong = "hunter2"
	values := s.config(dir)
	path := filepath.Join(dir, values["password_file"].(string))
	store, err := s.tryOpen(t, dir, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	s.exec("postgres", "alter role cwtch_relay password '"+wrong+"'")
	if err := os.WriteFile(path, []byte(wrong+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	store.pool.Reset()
	mustAppend(t, store, storage.Stored, newRecord())
	s.exec("postgres", "alter role cwtch_relay password 'third'")
	store.pool.Reset()
	_, err = store.Append(t.Context(), newRecords(1))
	if err == nil || !strings.Contains(err.Error(), "28P01") {
		t.Errorf("append with a wrong password: %v", err)
	}
	if all := fmt.Sprint(err, log.String(), s.log.text()); strings.Contains(all, wrong) || strings.Contains(all, password) {
		t.Errorf("a password is in %s", all)
	}
}

// TestDatabaseComesLater shows that the plugin waits for a database that is away.
func TestDatabaseComesLater(t *testing.T) {
	s := startServer(t)
	dir := t.TempDir()
	s.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 2*connectTimeout)
	defer cancel()
	v, _ := postgresSchema.Value(s.config(dir))
	cfg, err := plugin.NewConfig(postgresSchema, v, dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newPlugin().Storage(ctx, cfg); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("open without a database: %v, want ErrUnavailable", err)
	}
	patient, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	opened := make(chan error)
	go func() {
		store, err := newPlugin().Storage(patient, cfg)
		if err == nil {
			err = store.Close()
		}
		opened <- err
	}()
	s.start()
	if err := <-opened; err != nil {
		t.Errorf("open while the database starts: %v", err)
	}
}

// TestWatchPolls shows that a Watch learns of an append that nobody notified it of, and waits
// for a database that is away meanwhile.
func TestWatchPolls(t *testing.T) {
	s := startServer(t)
	dir := t.TempDir()
	store := s.open(t, dir)
	if _, err := store.Watch(canceled(), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("watch with a context that has ended: %v", err)
	}
	seen := make(chan storage.Seq)
	go func() {
		last, _ := store.Watch(t.Context(), 0)
		seen <- last
	}()
	s.kill()
	s.start()
	s.exec("cwtch_relay", "update "+schemaOf(dir)+".state set last = 7")
	if last := <-seen; last != 7 {
		t.Errorf("watch says %d", last)
	}
}

// TestWatchIsNotified shows that a Watch does not wait for its poll.
func TestWatchIsNotified(t *testing.T) {
	s := startServer(t)
	dir := t.TempDir()
	store, other := s.open(t, dir), s.open(t, dir)
	const rounds = 20
	begin := time.Now()
	for i := range storage.Seq(rounds) {
		seen := make(chan storage.Seq)
		go func() {
			last, _ := other.Watch(t.Context(), i)
			seen <- last
		}()
		mustAppend(t, store, storage.Stored, newRecord())
		if last := <-seen; last != i+1 {
			t.Fatalf("watch says %d, want %d", last, i+1)
		}
	}
	if took := time.Since(begin); took > rounds*pollEvery/2 {
		t.Errorf("%d times to be told took %v, as with polls", rounds, took)
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
