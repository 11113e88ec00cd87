"""A store of envelopes and spent tokens in SQLite. Replace it by your own: keep the
tests and change the rest. The contract is in proto/cwtch/relay/plugin/v1/storage.proto.

Durable: SQLite flushes its write-ahead log to the disk at the end of every
transaction (synchronous = FULL). What append has returned survives the end of the
process and of the machine. Atomic: each call is one transaction. Ordered: the
transaction assigns the sequence numbers. Pruned: SQLite overwrites what is removed
(secure_delete). The write-ahead log may hold it until the next few thousand envelopes.

One connection serves all calls, one at a time. The file is locked while it is open
(locking_mode = EXCLUSIVE), so two relays cannot use it by mistake. The lock ends with
the process.
"""

import hashlib
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cwtch_plugin import (
    MAX_AGING,
    Corrupt,
    Entry,
    Full,
    HourSize,
    Info,
    Key,
    NotFound,
    Outcome,
    Pruned,
    Record,
    Status,
    StoreError,
    Unavailable,
)

APPLICATION_ID = 0x43575459  # "CWTY" in the header of the file
FORMAT = 2

TABLES = """
CREATE TABLE envelope (
    seq        INTEGER PRIMARY KEY,
    id         BLOB NOT NULL,
    born       INTEGER NOT NULL,
    stored     INTEGER NOT NULL, -- the born that it was stored with
    signature  BLOB NOT NULL,
    ciphertext BLOB NOT NULL,
    found      INTEGER NOT NULL  -- whether find returns it for its signature
);
-- Not unique: a pruned envelope may be stored again before it is removed.
CREATE INDEX envelope_id ON envelope (id);
CREATE INDEX envelope_key ON envelope (born, id);
CREATE INDEX envelope_signature ON envelope (signature) WHERE found;
-- What there is of each hour, pruned or not. Adding it up takes as long as reading it.
CREATE TABLE hour (
    born  INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    bytes INTEGER NOT NULL
);
CREATE TABLE token (
    token BLOB PRIMARY KEY,
    id    BLOB NOT NULL
) WITHOUT ROWID;
-- One row. Counting the rows of a table takes SQLite as long as reading them.
CREATE TABLE state (
    epoch  BLOB NOT NULL,
    last   INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    floor  INTEGER NOT NULL -- what was born before it is not in the log
);
"""

# The columns of an Entry.
ENTRY = "seq, id, born, signature, ciphertext"


def token_id(nullifier: bytes) -> bytes:
    """Returns the id of a spent token: the first 16 bytes of a hash."""
    return hashlib.sha256(nullifier).digest()[:16]


class Store:
    """An open store. Several threads may call its methods."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()  # held while the connection is in use
        self.degraded = ""  # why the operator should look after the store, or ""
        with _translate_errors(path):
            self._db = _connect(path)
            try:
                self._epoch, self._last, self._tokens, self._floor = _load_state(self._db)
            except BaseException:
                self._db.close()
                raise

    def info(self) -> Info:
        """Describes the store."""
        with self._lock, _translate_errors(self._path):
            (count,) = self._db.execute(
                "SELECT coalesce(sum(count), 0) FROM hour WHERE born >= ?", (self._floor,)
            ).fetchone()
            first = self._db.execute(
                "SELECT seq FROM envelope WHERE born >= ? ORDER BY seq LIMIT 1", (self._floor,)
            ).fetchone()
            return Info(
                epoch=self._epoch,
                first=first[0] if first else 0,
                last=self._last,
                count=count,
                bytes=sum(os.path.getsize(p) for p in (self._path, self._path + "-wal") if os.path.exists(p)),
                tokens=self._tokens,
                floor=self._floor,
            )

    def append(self, records: Sequence[Record]) -> list[Outcome]:
        """Applies the records in order in one transaction. Returns when it is durable."""
        with self._write_batch() as batch:
            return [batch.append(record) for record in records]

    def log(self, start: int, limit: int, limit_bytes: int) -> tuple[list[Entry], int]:
        """Returns as many entries from start on as fit, and the last sequence number."""
        entries: list[Entry] = []
        with self._lock, _translate_errors(self._path):
            if start > self._last:
                return entries, self._last
            rows = self._db.execute(
                f"SELECT {ENTRY} FROM envelope WHERE seq >= ? AND born >= ? ORDER BY seq LIMIT ?",
                (start, self._floor, limit),
            )
            for row in rows:
                entry = Entry(*row)
                limit_bytes -= len(entry.signature) + len(entry.ciphertext)
                if limit_bytes < 0 and entries:
                    break
                entries.append(entry)
            rows.close()
            return entries, self._last

    def find(self, signature: bytes) -> int:
        """Returns the lowest sequence number of an envelope with the signature."""
        with self._lock, _translate_errors(self._path):
            seq = _find_signature(self._db, signature, self._floor)
        if not seq:
            raise NotFound("no envelope has this signature")
        return seq

    def spendings(self, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Returns spent tokens above after, with the ids of their envelopes."""
        with self._lock, _translate_errors(self._path):
            query = "SELECT token, id FROM token WHERE token > ? ORDER BY token LIMIT ?"
            return self._db.execute(query, (after, limit)).fetchall()

    def spend(self, spendings: Sequence[tuple[bytes, bytes]]) -> None:
        """Records tokens as spent. A token that is spent already keeps its first envelope."""
        with self._write_batch() as batch:
            for token, paid_for in spendings:
                batch.spend(token, paid_for)

    def hours(self, start: int, limit: int) -> list[HourSize]:
        """Returns what there is of each hour from start on. The relay decides from it what
        to prune."""
        with self._lock, _translate_errors(self._path):
            query = "SELECT born, count, bytes FROM hour WHERE born >= ? ORDER BY born LIMIT ?"
            return [HourSize(*row) for row in self._db.execute(query, (max(start, self._floor), limit))]

    def prune(self, floor: int, limit: int) -> Pruned:
        """Raises the floor, which hides everything below it at once, and removes as much as
        the limit allows."""
        with self._write_batch() as batch:
            return batch.prune(floor, limit)

    def keys(self, low: Key, high: Key | None, limit: int) -> list[Key]:
        """Returns the keys from low on, below high, in their order."""
        query = "SELECT born, id FROM envelope WHERE (born, id) >= (?, ?)"
        with self._lock, _translate_errors(self._path):
            ends = list(max(low, (self._floor, b"")))
            if high is not None:
                query += " AND (born, id) < (?, ?)"
                ends += high
            return self._db.execute(query + " ORDER BY born, id LIMIT ?", (*ends, limit)).fetchall()

    def get(self, ids: Sequence[bytes], limit_bytes: int) -> list[Entry]:
        """Returns the entries with the ids that are in the log, in the order of ids."""
        entries: list[Entry] = []
        query = f"SELECT {ENTRY} FROM envelope WHERE id = ? AND born >= ?"
        with self._lock, _translate_errors(self._path):
            for envelope in ids:
                row = self._db.execute(query, (envelope, self._floor)).fetchone()
                if row is None:
                    continue
                entry = Entry(*row)
                limit_bytes -= len(entry.signature) + len(entry.ciphertext)
                if limit_bytes < 0 and entries:
                    break
                entries.append(entry)
        return entries

    def close(self) -> None:
        with self._lock, _translate_errors(self._path):
            self._db.close()

    @contextmanager
    def _write_batch(self) -> "Iterator[_Batch]":
        """Runs one transaction. Readers see its changes once it is durable."""
        with self._lock:
            batch = _Batch(self._db, self._last, self._tokens, self._floor)
            try:
                with _translate_errors(self._path), _transaction(self._db):
                    yield batch
                    batch.finish()
            except Full as error:
                self.degraded = str(error)
                raise
            self._last, self._tokens, self._floor, self.degraded = batch.last, batch.tokens, batch.floor, ""


class _Batch:
    """The changes of one transaction."""

    def __init__(self, db: sqlite3.Connection, last: int, tokens: int, floor: int) -> None:
        self._db = db
        self._before = (last, tokens, floor)
        self.last = last
        self.tokens = tokens
        self.floor = floor

    def append(self, record: Record) -> Outcome:
        """Applies one record. It checks the token first, then the hour, the id and the
        signature."""
        seq = self._find(record.id)
        token = token_id(record.nullifier) if record.nullifier else b""
        if token and (paid_for := self._envelope_of_token(token)):
            return Outcome(Status.REPLAYED, seq) if seq and paid_for == record.id else Outcome(Status.SPENT)
        if record.born < self.floor:
            return Outcome(Status.EXPIRED)  # the token is not spent
        signed = _find_signature(self._db, record.signature, self.floor)
        if token and not seq and signed and record.signature:
            return Outcome(Status.CONFLICT)  # the token is not spent
        if token:
            self.spend(token, record.id)
        if seq:
            self._lower_born(seq, record.born)
            return Outcome(Status.DUPLICATE, seq)
        self.last += 1
        if not signed:  # the signature of a pruned envelope is forgotten
            self._db.execute("UPDATE envelope SET found = 0 WHERE signature = ? AND found", (record.signature,))
        self._db.execute(
            "INSERT INTO envelope (seq, id, born, stored, signature, ciphertext, found) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self.last, record.id, record.born, record.born, record.signature, record.ciphertext, not signed),
        )
        self._count(record.born, 1, len(record.signature) + len(record.ciphertext))
        return Outcome(Status.STORED, self.last)

    def spend(self, token: bytes, paid_for: bytes) -> None:
        """Spends a token, unless it is spent already."""
        query = "INSERT INTO token (token, id) VALUES (?, ?) ON CONFLICT DO NOTHING"
        self.tokens += self._db.execute(query, (token, paid_for)).rowcount == 1

    def prune(self, floor: int, limit: int) -> Pruned:
        self.floor = max(self.floor, floor)
        rows = self._db.execute(
            "DELETE FROM envelope WHERE seq IN (SELECT seq FROM envelope WHERE born < ? ORDER BY born, id LIMIT ?)"
            " RETURNING born, length(signature) + length(ciphertext)",
            (self.floor, limit),
        ).fetchall()
        for born, size in rows:
            self._count(born, -1, -size)
        self._db.execute("DELETE FROM hour WHERE born < ? AND count = 0", (self.floor,))
        query = "SELECT EXISTS (SELECT 1 FROM envelope WHERE born < ?)"
        (more,) = self._db.execute(query, (self.floor,)).fetchone()
        return Pruned(self.floor, len(rows), sum(size for _, size in rows), bool(more))

    def finish(self) -> None:
        if (self.last, self.tokens, self.floor) != self._before:
            query = "UPDATE state SET last = ?, tokens = ?, floor = ?"
            self._db.execute(query, (self.last, self.tokens, self.floor))

    def _find(self, envelope: bytes) -> int:
        query = "SELECT seq FROM envelope WHERE id = ? AND born >= ?"
        row = self._db.execute(query, (envelope, self.floor)).fetchone()
        return row[0] if row else 0

    def _lower_born(self, seq: int, other: int) -> None:
        """Keeps the lower hour when two relays have accepted one envelope in different
        hours, so that they agree on its key in the end."""
        query = "SELECT born, stored, length(signature) + length(ciphertext) FROM envelope WHERE seq = ?"
        born, stored, size = self._db.execute(query, (seq,)).fetchone()
        lower = max(min(born, other), stored - min(stored, MAX_AGING))
        if lower < born:
            self._db.execute("UPDATE envelope SET born = ? WHERE seq = ?", (lower, seq))
            self._count(born, -1, -size)
            self._db.execute("DELETE FROM hour WHERE born = ? AND count = 0", (born,))
            self._count(lower, 1, size)

    def _count(self, born: int, envelopes: int, size: int) -> None:
        """Adds to what there is of an hour."""
        self._db.execute(
            "INSERT INTO hour (born, count, bytes) VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET count = count + excluded.count, bytes = bytes + excluded.bytes",
            (born, envelopes, size),
        )

    def _envelope_of_token(self, token: bytes) -> bytes:
        """Returns the id of the envelope that a token paid for, or nothing if it is unspent."""
        row = self._db.execute("SELECT id FROM token WHERE token = ?", (token,)).fetchone()
        return bytes(row[0]) if row else b""


def _find_signature(db: sqlite3.Connection, signature: bytes, floor: int) -> int:
    """Returns the lowest sequence number of a signature in the log, or 0."""
    query = "SELECT seq FROM envelope WHERE signature = ? AND found AND born >= ?"
    row = db.execute(query, (signature, floor)).fetchone()
    return row[0] if row else 0


def _connect(path: str) -> sqlite3.Connection:
    """Connects. The caller begins transactions (isolation_level = None)."""
    db = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
    for pragma in (
        "locking_mode = EXCLUSIVE",  # before WAL: the index of the log then needs no file
        "journal_mode = WAL",
        "synchronous = FULL",
        "temp_store = MEMORY",
        "secure_delete = ON",
    ):
        db.execute(f"PRAGMA {pragma}")
    return db


def _load_state(db: sqlite3.Connection) -> tuple[bytes, int, int, int]:
    """Makes the tables of a new database or checks those of an old one. Returns the
    epoch, the last sequence number, the number of tokens and the floor."""
    with _transaction(db):
        (kind,) = db.execute("PRAGMA application_id").fetchone()
        (form,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if tables == 0:
            for statement in TABLES.split(";"):
                db.execute(statement)
            db.execute("INSERT INTO state VALUES (?, 0, 0, 0)", (secrets.token_bytes(16),))
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {FORMAT}")
        elif (kind, form) != (APPLICATION_ID, FORMAT):
            raise Corrupt("it belongs to another program or to a later version of this one")
        epoch, last, tokens, floor = db.execute("SELECT epoch, last, tokens, floor FROM state").fetchone()
        (greatest,) = db.execute("SELECT coalesce(max(seq), 0) FROM envelope").fetchone()
        if greatest > last:
            raise Corrupt(f"its log ends at {greatest} instead of {last}")
    return bytes(epoch), last, tokens, floor


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Runs a transaction: commits at the end, or rolls back after an exception."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite may have rolled back by itself
            db.execute("ROLLBACK")
        raise


# The errors of a full disk. SQLite reports a quota or a limit on file sizes like a
# failing disk, as an error of writing. In all cases nothing is stored.
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_TRUNCATE}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR_SHORT_READ}


@contextmanager
def _translate_errors(path: str) -> Iterator[None]:
    """Turns errors of SQLite into those that a relay knows."""
    try:
        yield
    except Corrupt as error:
        raise Corrupt(f"{path} is damaged: {error}") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0)  # an extended code, whose low byte is the primary one
        if {code, code & 0xFF} & _NO_ROOM:
            raise Full(f"no room for {path}: {error}") from error
        if {code, code & 0xFF} & _DAMAGED:
            raise Corrupt(f"{path} is damaged: {error}") from error
        if code & 0xFF == sqlite3.SQLITE_BUSY:
            raise Unavailable(f"{path} is in use by another process") from error
        raise StoreError(f"{path}: {error}") from error
