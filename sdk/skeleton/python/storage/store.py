"""A store of envelopes and spent tokens in SQLite. Replace it by your own: keep the
tests and change the rest. The contract is in proto/cwtch/relay/plugin/v1/storage.proto.

Durable: SQLite flushes its write-ahead log to the disk at the end of every
transaction (synchronous = FULL). What append has returned survives the end of the
process and of the machine. Atomic: each call is one transaction. Ordered: the
transaction assigns the sequence numbers.

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

from cwtch_plugin import Corrupt, Entry, Full, Info, NotFound, Outcome, Record, Status, StoreError, Unavailable

APPLICATION_ID = 0x43575459  # "CWTY" in the header of the file
FORMAT = 1

TABLES = """
CREATE TABLE envelope (
    seq        INTEGER PRIMARY KEY,
    id         BLOB NOT NULL UNIQUE,
    born       INTEGER NOT NULL,
    signature  BLOB NOT NULL,
    ciphertext BLOB NOT NULL
);
CREATE INDEX envelope_signature ON envelope (signature);
CREATE TABLE token (
    token BLOB PRIMARY KEY,
    id    BLOB NOT NULL
) WITHOUT ROWID;
-- One row. Counting the rows of a table takes SQLite as long as reading them.
CREATE TABLE state (
    epoch  BLOB NOT NULL,
    last   INTEGER NOT NULL,
    tokens INTEGER NOT NULL
);
"""


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
                self._epoch, self._last, self._tokens = _load_state(self._db)
            except BaseException:
                self._db.close()
                raise

    def info(self) -> Info:
        """Describes the store. It never removes an envelope, so the last sequence
        number is also their count."""
        with self._lock:
            return Info(
                epoch=self._epoch,
                first=min(1, self._last),
                last=self._last,
                count=self._last,
                bytes=sum(os.path.getsize(p) for p in (self._path, self._path + "-wal") if os.path.exists(p)),
                tokens=self._tokens,
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
                "SELECT seq, id, born, signature, ciphertext FROM envelope WHERE seq >= ? ORDER BY seq LIMIT ?",
                (start, limit),
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
            query = "SELECT min(seq) FROM envelope WHERE signature = ?"
            (seq,) = self._db.execute(query, (signature,)).fetchone()
        if seq is None:
            raise NotFound("no envelope has this signature")
        return int(seq)

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

    def close(self) -> None:
        with self._lock, _translate_errors(self._path):
            self._db.close()

    @contextmanager
    def _write_batch(self) -> "Iterator[_Batch]":
        """Runs one transaction. Readers see its changes once it is durable."""
        with self._lock:
            batch = _Batch(self._db, self._last, self._tokens)
            try:
                with _translate_errors(self._path), _transaction(self._db):
                    yield batch
                    batch.finish()
            except Full as error:
                self.degraded = str(error)
                raise
            self._last, self._tokens, self.degraded = batch.last, batch.tokens, ""


class _Batch:
    """The changes of one transaction."""

    def __init__(self, db: sqlite3.Connection, last: int, tokens: int) -> None:
        self._db = db
        self._before = (last, tokens)
        self.last = last
        self.tokens = tokens

    def append(self, record: Record) -> Outcome:
        """Applies one record. It checks the token first, then the id, then the signature."""
        seq = self._find(record.id)
        if record.nullifier and not seq and self._conflicts(record):
            return Outcome(Status.CONFLICT)
        if record.nullifier and not self.spend(token_id(record.nullifier), record.id):
            if seq and self._envelope_of_token(token_id(record.nullifier)) == record.id:
                return Outcome(Status.REPLAYED, seq)
            return Outcome(Status.SPENT)
        if seq:
            return Outcome(Status.DUPLICATE, seq)
        self.last += 1
        self._db.execute(
            "INSERT INTO envelope (seq, id, born, signature, ciphertext) VALUES (?, ?, ?, ?, ?)",
            (self.last, record.id, record.born, record.signature, record.ciphertext),
        )
        return Outcome(Status.STORED, self.last)

    def spend(self, token: bytes, paid_for: bytes) -> bool:
        """Spends a token, and reports whether it was unspent."""
        query = "INSERT INTO token (token, id) VALUES (?, ?) ON CONFLICT DO NOTHING"
        unspent = self._db.execute(query, (token, paid_for)).rowcount == 1
        self.tokens += unspent
        return unspent

    def finish(self) -> None:
        if (self.last, self.tokens) != self._before:
            self._db.execute("UPDATE state SET last = ?, tokens = ?", (self.last, self.tokens))

    def _find(self, envelope: bytes) -> int:
        row = self._db.execute("SELECT seq FROM envelope WHERE id = ?", (envelope,)).fetchone()
        return row[0] if row else 0

    def _conflicts(self, record: Record) -> bool:
        """Reports whether another envelope has the signature and the token is unspent."""
        query = (
            "SELECT EXISTS (SELECT 1 FROM envelope WHERE signature = ? AND signature <> x'')"
            " AND NOT EXISTS (SELECT 1 FROM token WHERE token = ?)"
        )
        (conflicts,) = self._db.execute(query, (record.signature, token_id(record.nullifier))).fetchone()
        return bool(conflicts)

    def _envelope_of_token(self, token: bytes) -> bytes:
        (paid_for,) = self._db.execute("SELECT id FROM token WHERE token = ?", (token,)).fetchone()
        return bytes(paid_for)


def _connect(path: str) -> sqlite3.Connection:
    """Connects. The caller begins transactions (isolation_level = None)."""
    db = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
    for pragma in (
        "locking_mode = EXCLUSIVE",  # before WAL: the index of the log then needs no file
        "journal_mode = WAL",
        "synchronous = FULL",
        "temp_store = MEMORY",
    ):
        db.execute(f"PRAGMA {pragma}")
    return db


def _load_state(db: sqlite3.Connection) -> tuple[bytes, int, int]:
    """Makes the tables of a new database or checks those of an old one. Returns the
    epoch, the last sequence number and the number of tokens."""
    with _transaction(db):
        (kind,) = db.execute("PRAGMA application_id").fetchone()
        (form,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if tables == 0:
            for statement in TABLES.split(";"):
                db.execute(statement)
            db.execute("INSERT INTO state VALUES (?, 0, 0)", (secrets.token_bytes(16),))
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {FORMAT}")
        elif (kind, form) != (APPLICATION_ID, FORMAT):
            raise Corrupt("it belongs to another program or to a later version of this one")
        epoch, last, tokens = db.execute("SELECT epoch, last, tokens FROM state").fetchone()
        (greatest,) = db.execute("SELECT coalesce(max(seq), 0) FROM envelope").fetchone()
        if greatest != last:
            raise Corrupt(f"its log ends at {greatest} instead of {last}")
    return bytes(epoch), last, tokens


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
