"""A store of envelopes and spent tokens in SQLite, to be replaced by your own: keep
the tests, change the rest. The contract is in proto/cwtch/relay/plugin/v1/storage.proto.

Durable: the journal is a write-ahead log, which SQLite flushes to the disk at the
end of every transaction (synchronous = FULL), so what append has returned
survives the death of the process and of the machine. Atomic: each call is one
transaction. Ordered: the number of an envelope is given within it.

One connection does everything, one call at a time. The file is locked for as long
as it is open (locking_mode = EXCLUSIVE), so that two relays cannot share one by
mistake; the lock ends with the process, however that ends.
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
    """The id by which a spent token is kept, the first 16 bytes of a hash."""
    return hashlib.sha256(nullifier).digest()[:16]


class Store:
    """An open store. Its methods may be called by several threads."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()  # held while the connection is used
        self.trouble = ""  # what the operator should look at, if anything
        with _explained(path):
            self._db = _open(path)
            try:
                self._epoch, self._last, self._tokens = _prepare(self._db)
            except BaseException:
                self._db.close()
                raise

    def info(self) -> Info:
        """Describes the store. Nothing is ever removed from it, so that there are
        as many envelopes as numbers."""
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
        """Applies the records in order, in one transaction, and returns when it
        is durable."""
        with self._transaction() as batch:
            return [batch.append(record) for record in records]

    def log(self, start: int, limit: int, limit_bytes: int) -> tuple[list[Entry], int]:
        """Returns the entries from start on, as many as fit, and the last number."""
        entries: list[Entry] = []
        with self._lock, _explained(self._path):
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
        """Returns the lowest number of an envelope with the signature."""
        with self._lock, _explained(self._path):
            query = "SELECT min(seq) FROM envelope WHERE signature = ?"
            (seq,) = self._db.execute(query, (signature,)).fetchone()
        if seq is None:
            raise NotFound("no envelope has this signature")
        return int(seq)

    def spendings(self, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Returns spent tokens above after, with the envelopes they paid for."""
        with self._lock, _explained(self._path):
            query = "SELECT token, id FROM token WHERE token > ? ORDER BY token LIMIT ?"
            return self._db.execute(query, (after, limit)).fetchall()

    def spend(self, spendings: Sequence[tuple[bytes, bytes]]) -> None:
        """Records tokens as spent. Of one that is spent, the first spending stays."""
        with self._transaction() as batch:
            for token, paid_for in spendings:
                batch.spend(token, paid_for)

    def close(self) -> None:
        with self._lock, _explained(self._path):
            self._db.close()

    @contextmanager
    def _transaction(self) -> "Iterator[_Batch]":
        """Runs one transaction; what it changed is known to readers when it is
        durable."""
        with self._lock:
            batch = _Batch(self._db, self._last, self._tokens)
            try:
                with _explained(self._path), _committed(self._db):
                    yield batch
                    batch.finish()
            except Full as error:
                self.trouble = str(error)
                raise
            self._last, self._tokens, self.trouble = batch.last, batch.tokens, ""


class _Batch:
    """What is under way in one transaction."""

    def __init__(self, db: sqlite3.Connection, last: int, tokens: int) -> None:
        self._db = db
        self._before = (last, tokens)
        self.last = last
        self.tokens = tokens

    def append(self, record: Record) -> Outcome:
        """Applies one record: its token is looked at first, its id second, its
        signature third."""
        seq = self._find(record.id)
        if record.nullifier and not seq and self._conflicts(record):
            return Outcome(Status.CONFLICT)
        if record.nullifier and not self.spend(token_id(record.nullifier), record.id):
            if seq and self._paid_for(token_id(record.nullifier)) == record.id:
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
        fresh = self._db.execute(query, (token, paid_for)).rowcount == 1
        self.tokens += fresh
        return fresh

    def finish(self) -> None:
        if (self.last, self.tokens) != self._before:
            self._db.execute("UPDATE state SET last = ?, tokens = ?", (self.last, self.tokens))

    def _find(self, envelope: bytes) -> int:
        row = self._db.execute("SELECT seq FROM envelope WHERE id = ?", (envelope,)).fetchone()
        return row[0] if row else 0

    def _conflicts(self, record: Record) -> bool:
        """Whether another envelope has the signature, and the token is unspent."""
        query = (
            "SELECT EXISTS (SELECT 1 FROM envelope WHERE signature = ? AND signature <> x'')"
            " AND NOT EXISTS (SELECT 1 FROM token WHERE token = ?)"
        )
        (conflicts,) = self._db.execute(query, (record.signature, token_id(record.nullifier))).fetchone()
        return bool(conflicts)

    def _paid_for(self, token: bytes) -> bytes:
        (paid_for,) = self._db.execute("SELECT id FROM token WHERE token = ?", (token,)).fetchone()
        return bytes(paid_for)


def _open(path: str) -> sqlite3.Connection:
    """Connects. Transactions are begun by hand (isolation_level = None)."""
    db = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
    for pragma in (
        "locking_mode = EXCLUSIVE",  # first: then the index of the journal needs no file
        "journal_mode = WAL",
        "synchronous = FULL",
        "temp_store = MEMORY",
    ):
        db.execute(f"PRAGMA {pragma}")
    return db


def _prepare(db: sqlite3.Connection) -> tuple[bytes, int, int]:
    """Makes the tables of a new database, or checks those of an old one, and
    returns epoch, last number and number of tokens."""
    with _committed(db):
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
            raise Corrupt("it is another program's database, or of a later version of this one")
        epoch, last, tokens = db.execute("SELECT epoch, last, tokens FROM state").fetchone()
        (greatest,) = db.execute("SELECT coalesce(max(seq), 0) FROM envelope").fetchone()
        if greatest != last:
            raise Corrupt(f"its log ends at {greatest} and should end at {last}")
    return bytes(epoch), last, tokens


@contextmanager
def _committed(db: sqlite3.Connection) -> Iterator[None]:
    """Commits at the end, or rolls back."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite may have rolled back by itself
            db.execute("ROLLBACK")
        raise


# What SQLite calls a full disk. A quota and a limit on the size of files come out
# as errors in writing, as a disk that fails does; all of them store nothing.
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_TRUNCATE}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR_SHORT_READ}


@contextmanager
def _explained(path: str) -> Iterator[None]:
    """Gives errors of SQLite the meaning that they have for a relay."""
    try:
        yield
    except Corrupt as error:
        raise Corrupt(f"{path} is damaged: {error}") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0)  # extended: the low byte is the kind
        if {code, code & 0xFF} & _NO_ROOM:
            raise Full(f"no room for {path}: {error}") from error
        if {code, code & 0xFF} & _DAMAGED:
            raise Corrupt(f"{path} is damaged: {error}") from error
        if code & 0xFF == sqlite3.SQLITE_BUSY:
            raise Unavailable(f"{path} is in use by another process") from error
        raise StoreError(f"{path}: {error}") from error
