"""The part that is the same for all plugins: how a relay starts, calls and ends them.
A class Plugin of another kind overrides kind, capabilities and add_service. Do not change this file; replace it with that of a newer cwtch-relay. Your
own code is in main.py and store.py.

This file implements docs/plugin-protocol.md of cwtch-relay. The comments in proto/ are
the contract of each call. Its sections are:

    contract    what a store receives, returns and raises, and its limits
    log         lines for the log of the relay
    lifecycle   configuring, draining and closing a store that calls may be using
    services    gRPC services that call the store
    handshake   what relay and plugin exchange before the first call
    serve       the main function of the process
"""

import base64
import ctypes
import datetime
import functools
import json
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

# grpc writes lines of its own to standard error. Only its errors are of interest. It
# reads this variable when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc
import msgpack
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cwtch.relay.plugin.v1 import plugin_pb2, plugin_pb2_grpc, storage_pb2, storage_pb2_grpc

MAX_REQUEST = 16 << 20  # bytes; the default of gRPC is 4 MiB
THREADS = 16  # calls at the same time; a relay makes fewer, so Health never waits
SHUTDOWN_GRACE = 5  # seconds for calls under way when the relay is gone

# The cookie shows that a relay starts the plugin, not a person. It is no secret.
MAGIC_COOKIE = ("CWTCH_RELAY_PLUGIN", "b3c1f0b1-6d0f-4c6a-9a0e-5f6f0a5a7f3e")

# The versions of go-plugin's handshake line and of the framing.
GO_PLUGIN_PROTOCOL = 1
PROTOCOL = 1

CONTRACT = 1  # the version of the contract of each kind

# ---- contract ----

# The limits of storage.proto. They are checked here before the store is called.
MAX_BATCH = 256  # records in one append
MAX_BATCH_BYTES = 1 << 20  # of their signatures and ciphertexts
MAX_ENVELOPE = 16 << 10  # signature and ciphertext of one record
MAX_PAGE = 1024  # entries in one page of the log
PAGE_BYTES = 256 << 10  # of their signatures and ciphertexts
MAX_SPENT_TOKENS = 1024  # in one page and in one spend
MAX_HOURS = 1024  # in one answer of hours
MAX_PRUNE = 4096  # envelopes that one prune removes
MAX_KEYS = 4096  # in one page of keys
MAX_GET = 256  # ids in one get
MAX_AGING = 24  # hours by which the hour of an envelope is lowered
MAX_COMPACT = 64 << 20  # bytes that one compact moves
MIN_COMPACT = 64 << 10  # bytes that every compact may move
MAX_FAULTS = 256  # in one part of a check
MAX_CHECK_STATE = 64  # bytes of where the next part begins
MAX_FAULT_TEXT = 256  # bytes of each text of a fault


class StoreError(Exception):
    """An error whose text the operator sees: say what is wrong, where, and what to do.
    A relay distinguishes the classes below."""


class NotFound(StoreError):
    """No envelope has the signature."""


class TooLarge(StoreError):
    """A batch, a record or a request exceeds the limits."""


class Full(StoreError):
    """There is no room for the batch. Nothing was stored. Reads still work."""


class Unavailable(StoreError):
    """The store cannot be used now, but may be later."""


class Corrupt(StoreError):
    """The store contradicts itself. The relay stops using it."""


class Status(IntEnum):
    """What became of a record, with the numbers of storage.proto."""

    STORED = 1
    DUPLICATE = 2
    SPENT = 3
    REPLAYED = 4
    CONFLICT = 5
    EXPIRED = 6


@dataclass(frozen=True)
class Record:
    id: bytes
    born: int
    signature: bytes
    ciphertext: bytes
    nullifier: bytes  # empty: the envelope needs no token


@dataclass(frozen=True)
class Outcome:
    status: Status
    seq: int = 0


@dataclass(frozen=True)
class Entry:
    seq: int
    id: bytes
    born: int
    signature: bytes
    ciphertext: bytes


@dataclass(frozen=True)
class Info:
    epoch: bytes
    first: int
    last: int
    count: int
    bytes: int
    tokens: int
    floor: int = 0
    in_use: int = 0


@dataclass(frozen=True)
class HourSize:
    hour: int
    count: int
    bytes: int


@dataclass(frozen=True)
class Pruned:
    floor: int
    envelopes: int
    bytes: int
    more: bool


# A key is the hour of an envelope and its id. Keys are ordered like these tuples.
Key = tuple[int, bytes]


class Store(Protocol):
    """What a store implements. storage.proto has the contract of each call. Several
    threads call the methods at the same time."""

    degraded: str  # why the operator should look after the store, or ""

    def info(self) -> Info: ...
    def append(self, records: Sequence[Record]) -> list[Outcome]: ...
    def log(self, start: int, limit: int, limit_bytes: int) -> tuple[list[Entry], int]: ...
    def find(self, signature: bytes) -> int: ...
    def spendings(self, after: bytes, limit: int) -> list[tuple[bytes, bytes]]: ...
    def spend(self, spendings: Sequence[tuple[bytes, bytes]]) -> None: ...
    def hours(self, start: int, limit: int) -> list[HourSize]: ...
    def prune(self, floor: int, limit: int) -> Pruned: ...
    def keys(self, low: Key, high: Key | None, limit: int) -> list[Key]: ...
    def get(self, ids: Sequence[bytes], limit_bytes: int) -> list[Entry]: ...
    def close(self) -> None: ...


Attribute = plugin_pb2.Attribute
Diagnostic = plugin_pb2.Diagnostic


@dataclass(frozen=True)
class Plugin:
    """A storage plugin: its description, see proto/…/plugin.proto, and what to do with
    a configuration."""

    name: str
    version: str
    doc: str
    validate: Callable[[dict[str, Any]], list[Diagnostic]]  # faults that the schema cannot express
    open: Callable[[dict[str, Any], str], Store]  # the second argument is the plugin's directory
    attributes: Sequence[Attribute] = ()
    ledger: bool = True  # the store implements spendings and spend
    pruner: bool = True  # hours and prune
    index: bool = True  # keys and get

    kind = "storage"

    def add_service(self, server: grpc.Server, lifecycle: "Lifecycle", log: "Log") -> None:
        """Adds the service of the kind to the server."""
        storage_pb2_grpc.add_StorageServicer_to_server(StorageService(lifecycle, log), server)

    def capabilities(self) -> "list[plugin_pb2.Capability]":
        # Watch is left out: nothing else appends to a store in the plugin's own directory.
        offered = {
            plugin_pb2.CAPABILITY_STORAGE_LEDGER: self.ledger,
            plugin_pb2.CAPABILITY_STORAGE_PRUNE: self.pruner,
            plugin_pb2.CAPABILITY_STORAGE_INDEX: self.index,
        }
        return [capability for capability, is_offered in offered.items() if is_offered]

    def describe(self) -> plugin_pb2.DescribeResponse:
        return plugin_pb2.DescribeResponse(
            kind=self.kind,
            name=self.name,
            version=self.version,
            doc=self.doc,
            protocols=[PROTOCOL],
            contract=CONTRACT,
            capabilities=self.capabilities(),
            schema=plugin_pb2.Schema(attributes=self.attributes),
        )


# ---- log ----

LEVELS = ("debug", "info", "warn", "error")


class Log:
    """Writes lines of a level and above. Several threads may use it."""

    def __init__(self, level: str) -> None:
        level = level.lower()
        self._lowest = LEVELS.index(level) if level in LEVELS else 1

    def debug(self, message: str, **fields: object) -> None:
        self._write("debug", message, fields)

    def info(self, message: str, **fields: object) -> None:
        self._write("info", message, fields)

    def warn(self, message: str, **fields: object) -> None:
        self._write("warn", message, fields)

    def error(self, message: str, **fields: object) -> None:
        self._write("error", message, fields)

    def exception(self, message: str) -> None:
        """Logs the exception that is being handled, with its stack."""
        error = sys.exception()
        self.error(message, error=f"{type(error).__name__}: {error}", stack=traceback.format_exc(limit=-5))

    def _write(self, level: str, message: str, fields: dict[str, object]) -> None:
        if LEVELS.index(level) < self._lowest:
            return
        line = json.dumps({"@level": level, "@message": message, **fields}, default=str)
        # A single write keeps lines of several threads apart.
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


# ---- lifecycle ----


class Lifecycle:
    """Holds the open store, if there is one, and counts the calls that use it.

    Times are in seconds, None means no limit. Waiting longer raises TimeoutError. After
    shutdown nothing can be configured, unless the lifecycle is reusable, as for a
    debugger."""

    def __init__(self, reusable: bool = False) -> None:
        self._reusable = reusable
        self._open_lock = threading.Lock()  # held while the store is opened or closed
        self._changed = threading.Condition()  # guards the fields below
        self._store: Store | None = None
        self._configuration: object = None  # with which the store was opened
        self._refusal = "not configured"  # why no call may begin; empty while calls may
        self._failed = False
        self._draining = False
        self._calls = 0

    @contextmanager
    def store(self) -> Iterator[Store]:
        """Provides the store to one call."""
        with self._changed:
            if self._refusal or self._store is None:
                raise Unavailable(self._refusal)
            store = self._store
            self._calls += 1
        try:
            yield store
        finally:
            with self._changed:
                self._calls -= 1
                self._changed.notify_all()

    def configure(self, configuration: object, open_store: Callable[[], Store], time: float | None) -> None:
        """Closes the open store and opens another one. If the configuration is the
        same, nothing happens."""
        with self._open_lock:
            with self._changed:
                if self._draining:
                    raise Unavailable("draining")
                if self._store is not None and self._configuration == configuration:
                    return
            self._close_store("being configured", time)
            try:
                store = open_store()
            except BaseException:
                with self._changed:
                    self._refusal, self._failed = "the last configuration could not be used", True
                raise
            with self._changed:
                self._store, self._configuration, self._failed = store, configuration, False
                self._refusal = "draining" if self._draining else ""

    def drain(self, time: float | None) -> None:
        """Refuses new calls and waits for those under way."""
        with self._changed:
            self._draining = True
            self._refusal = "draining"
            self._wait_until_idle(time)

    def shutdown(self, time: float | None) -> None:
        """Drains and closes the store."""
        self.drain(time)
        with self._open_lock:
            self._close_store("closed", time)
            if self._reusable:
                with self._changed:
                    self._refusal, self._draining = "not configured", False

    def health(self) -> tuple[bool, str]:
        """Returns whether the plugin has to be started again, and what the operator
        should know, or "" if all is well."""
        with self._changed:
            if self._store is None:
                return self._failed, self._refusal
            return False, self._store.degraded

    def _close_store(self, refusal: str, time: float | None) -> None:
        """Waits for the calls under way and closes the store."""
        with self._changed:
            before, self._refusal = self._refusal, refusal
            try:
                self._wait_until_idle(time)
            except TimeoutError:
                self._refusal = before
                raise
            store, self._store = self._store, None
        if store is not None:
            store.close()

    def _wait_until_idle(self, time: float | None) -> None:
        """Waits until no call is under way. The caller holds self._changed."""
        if not self._changed.wait_for(lambda: self._calls == 0, time):
            raise TimeoutError(f"{self._calls} calls are under way")


# ---- services ----


class Malformed(Exception):
    """A request that no relay makes."""


# The codes of storage.proto. The first class that matches counts.
CODES: dict[type[Exception], grpc.StatusCode] = {
    NotFound: grpc.StatusCode.NOT_FOUND,
    TooLarge: grpc.StatusCode.OUT_OF_RANGE,
    Full: grpc.StatusCode.FAILED_PRECONDITION,
    Corrupt: grpc.StatusCode.DATA_LOSS,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    StoreError: grpc.StatusCode.UNKNOWN,
    TimeoutError: grpc.StatusCode.DEADLINE_EXCEEDED,
    Malformed: grpc.StatusCode.INVALID_ARGUMENT,
}

Context = grpc.ServicerContext
Method = Callable[[Any, Any, Context], Any]


def with_error_codes(method: Method) -> Method:
    """Turns the exceptions of a method into gRPC codes."""

    @functools.wraps(method)
    def answer(self: Any, request: Any, context: Context) -> Any:
        try:
            return method(self, request, context)
        except tuple(CODES) as error:
            code = next(code for kind, code in CODES.items() if isinstance(error, kind))
            text = str(error)
        except Exception as error:
            self.log.exception(f"{method.__name__} failed")
            code, text = grpc.StatusCode.INTERNAL, f"{type(error).__name__} in {method.__name__}"
        context.abort(code, text)

    return answer


class PluginService(plugin_pb2_grpc.PluginServicer):
    """The calls of every kind of plugin."""

    def __init__(self, plugin: Plugin, lifecycle: Lifecycle, log: Log) -> None:
        self.plugin = plugin
        self.lifecycle = lifecycle
        self.log = log

    def _decode(self, config: bytes) -> dict[str, Any]:
        return decode(config, self.plugin.attributes)

    @with_error_codes
    def Describe(self, request: plugin_pb2.DescribeRequest, context: Context) -> plugin_pb2.DescribeResponse:
        return self.plugin.describe()

    @with_error_codes
    def Validate(self, request: plugin_pb2.ValidateRequest, context: Context) -> plugin_pb2.ValidateResponse:
        return plugin_pb2.ValidateResponse(diagnostics=self.plugin.validate(self._decode(request.config)))

    @with_error_codes
    def Configure(self, request: plugin_pb2.ConfigureRequest, context: Context) -> plugin_pb2.ConfigureResponse:
        if request.inspect:
            raise StoreError("this plugin cannot open its store for inspection")
        config = self._decode(request.config)
        if not os.path.isabs(request.dir):
            raise Malformed(f"the directory {request.dir!r} is not absolute")
        if diagnostics := self.plugin.validate(config):
            return plugin_pb2.ConfigureResponse(diagnostics=diagnostics)
        self.lifecycle.configure(
            (request.config, request.dir), lambda: self.plugin.open(config, request.dir), context.time_remaining()
        )
        return plugin_pb2.ConfigureResponse(capabilities=self.plugin.capabilities())

    @with_error_codes
    def Health(self, request: plugin_pb2.HealthRequest, context: Context) -> plugin_pb2.HealthResponse:
        failed, reason = self.lifecycle.health()
        response = plugin_pb2.HealthResponse
        status = response.STATUS_FAILED if failed else response.STATUS_DEGRADED if reason else response.STATUS_READY
        return response(status=status, reason=reason)

    @with_error_codes
    def Drain(self, request: plugin_pb2.DrainRequest, context: Context) -> plugin_pb2.DrainResponse:
        self.lifecycle.drain(context.time_remaining())
        return plugin_pb2.DrainResponse()

    @with_error_codes
    def Shutdown(self, request: plugin_pb2.ShutdownRequest, context: Context) -> plugin_pb2.ShutdownResponse:
        self.lifecycle.shutdown(context.time_remaining())
        return plugin_pb2.ShutdownResponse()


# The Python type of a value of each attribute type.
TYPES = {
    Attribute.TYPE_STRING: str,
    Attribute.TYPE_INT: int,
    Attribute.TYPE_BOOL: bool,
    Attribute.TYPE_DURATION: int,  # nanoseconds
    Attribute.TYPE_BYTES: int,
    Attribute.TYPE_STRING_LIST: list,
}


def decode(config: bytes, attributes: Sequence[Attribute]) -> dict[str, Any]:
    """Decodes a configuration. The relay has checked it against the schema and filled
    in the defaults."""
    try:
        values = msgpack.unpackb(config)
    except ValueError as error:
        raise Malformed(f"configuration: {error}") from error
    if not isinstance(values, dict) or set(values) != {a.name for a in attributes}:
        raise Malformed("configuration: not the attributes of the schema")
    for a in attributes:
        missing = values[a.name] is None and not a.required and not a.default
        if not missing and type(values[a.name]) is not TYPES[a.type]:
            raise Malformed(f"configuration: {a.name} is a {type(values[a.name]).__name__}")
    return values


class StorageService(storage_pb2_grpc.StorageServicer):
    """The calls to a store."""

    def __init__(self, lifecycle: Lifecycle, log: Log) -> None:
        self.lifecycle = lifecycle
        self.log = log

    @with_error_codes
    def Info(self, request: storage_pb2.InfoRequest, context: Context) -> storage_pb2.InfoResponse:
        with self.lifecycle.store() as s:
            info = s.info()
        return storage_pb2.InfoResponse(
            epoch=info.epoch,
            first=info.first,
            last=info.last,
            count=info.count,
            bytes=info.bytes,
            tokens=info.tokens,
            floor=info.floor,
            in_use=info.in_use,
        )

    @with_error_codes
    def Append(self, request: storage_pb2.AppendRequest, context: Context) -> storage_pb2.AppendResponse:
        records = [
            Record(
                id=require_size(32, r.id, "id"),
                born=r.born,
                signature=r.signature,
                ciphertext=r.ciphertext,
                nullifier=r.nullifier and require_size(32, r.nullifier, "nullifier"),
            )
            for r in request.records
        ]
        check_batch(records)
        with self.lifecycle.store() as s:
            outcomes = s.append(records)
        return storage_pb2.AppendResponse(outcomes=[storage_pb2.Outcome(status=o.status, seq=o.seq) for o in outcomes])

    @with_error_codes
    def Log(self, request: storage_pb2.LogRequest, context: Context) -> storage_pb2.LogResponse:
        limit = require_at_most(MAX_PAGE, request.max, "entries of a page") or MAX_PAGE
        limit_bytes = require_at_most(PAGE_BYTES, request.max_bytes, "bytes of a page") or PAGE_BYTES
        with self.lifecycle.store() as s:
            entries, last = s.log(max(1, getattr(request, "from")), limit, limit_bytes)
        return storage_pb2.LogResponse(entries=encode_entries(entries), last=last)

    @with_error_codes
    def Find(self, request: storage_pb2.FindRequest, context: Context) -> storage_pb2.FindResponse:
        require_at_most(MAX_ENVELOPE, len(request.signature), "bytes of a signature")
        with self.lifecycle.store() as s:
            return storage_pb2.FindResponse(seq=s.find(request.signature))

    @with_error_codes
    def Spendings(self, request: storage_pb2.SpendingsRequest, context: Context) -> storage_pb2.SpendingsResponse:
        after = request.after and require_size(16, request.after, "token")
        limit = require_at_most(MAX_SPENT_TOKENS, request.max, "spendings of a page") or MAX_SPENT_TOKENS
        with self.lifecycle.store() as s:
            page = s.spendings(after, limit)
        return storage_pb2.SpendingsResponse(
            spendings=[storage_pb2.Spending(token=token, id=paid_for) for token, paid_for in page]
        )

    @with_error_codes
    def Spend(self, request: storage_pb2.SpendRequest, context: Context) -> storage_pb2.SpendResponse:
        require_at_most(MAX_SPENT_TOKENS, len(request.spendings), "spendings")
        spendings = [(require_size(16, s.token, "token"), require_size(32, s.id, "id")) for s in request.spendings]
        with self.lifecycle.store() as s:
            s.spend(spendings)
        return storage_pb2.SpendResponse()

    @with_error_codes
    def Hours(self, request: storage_pb2.HoursRequest, context: Context) -> storage_pb2.HoursResponse:
        limit = require_at_most(MAX_HOURS, request.max, "hours") or MAX_HOURS
        with self.lifecycle.store() as s:
            hours = s.hours(getattr(request, "from"), limit)
        return storage_pb2.HoursResponse(
            hours=[storage_pb2.HourSize(hour=h.hour, count=h.count, bytes=h.bytes) for h in hours]
        )

    @with_error_codes
    def Prune(self, request: storage_pb2.PruneRequest, context: Context) -> storage_pb2.PruneResponse:
        limit = require_at_most(MAX_PRUNE, request.max, "envelopes to remove") or MAX_PRUNE
        with self.lifecycle.store() as s:
            p = s.prune(request.floor, limit)
        return storage_pb2.PruneResponse(floor=p.floor, envelopes=p.envelopes, bytes=p.bytes, more=p.more)

    @with_error_codes
    def Keys(self, request: storage_pb2.KeysRequest, context: Context) -> storage_pb2.KeysResponse:
        ends = require_size(2 * KEY_SIZE, request.range, "range")
        low, high = decode_key(ends[:KEY_SIZE]), decode_key(ends[KEY_SIZE:])
        limit = require_at_most(MAX_KEYS, request.max, "keys of a page") or MAX_KEYS
        with self.lifecycle.store() as s:
            keys = s.keys(low, high if any(ends[KEY_SIZE:]) else None, limit)
        return storage_pb2.KeysResponse(keys=b"".join(born.to_bytes(4, "big") + id for born, id in keys))

    @with_error_codes
    def Get(self, request: storage_pb2.GetRequest, context: Context) -> storage_pb2.GetResponse:
        if len(request.ids) % 32:
            raise Malformed(f"ids of {len(request.ids)} bytes")
        require_at_most(MAX_GET, len(request.ids) // 32, "ids")
        ids = [request.ids[at : at + 32] for at in range(0, len(request.ids), 32)]
        with self.lifecycle.store() as s:
            entries = s.get(ids, PAGE_BYTES)
        return storage_pb2.GetResponse(entries=encode_entries(entries))


KEY_SIZE = 36  # bytes: an hour and an id


def decode_key(key: bytes) -> Key:
    return int.from_bytes(key[:4], "big"), key[4:]


def encode_entries(entries: Sequence[Entry]) -> "list[storage_pb2.Entry]":
    return [
        storage_pb2.Entry(seq=e.seq, id=e.id, born=e.born, signature=e.signature, ciphertext=e.ciphertext)
        for e in entries
    ]


def require_size(size: int, value: bytes, what: str) -> bytes:
    if len(value) != size:
        raise Malformed(f"{what} of {len(value)} bytes")
    return value


def require_at_most(limit: int, value: int, what: str) -> int:
    if value > limit:
        raise TooLarge(f"{value} {what}, limit {limit}")
    return value


def check_batch(records: Sequence[Record]) -> None:
    require_at_most(MAX_BATCH, len(records), "records")
    sizes = [len(r.signature) + len(r.ciphertext) for r in records]
    require_at_most(MAX_ENVELOPE, max(sizes, default=0), "bytes of a record")
    require_at_most(MAX_BATCH_BYTES, sum(sizes), "bytes of a batch")


# ---- handshake ----


class HandshakeError(Exception):
    """The environment comes from a relay that this plugin does not understand."""


@dataclass(frozen=True)
class RelayEnvironment:
    """What the relay says in the environment of the plugin."""

    socket_dir: str
    client_certificate: bytes  # in PEM
    lifeline: int  # a file descriptor
    log_level: str

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "RelayEnvironment | None":
        """Reads the environment. Returns None if no relay started the process."""
        name, value = MAGIC_COOKIE
        if environ.get(name) != value:
            return None
        versions = environ.get("PLUGIN_PROTOCOL_VERSIONS", "").split(",")
        if str(PROTOCOL) not in versions:
            raise HandshakeError(f"the relay speaks the protocols {versions}, this plugin {PROTOCOL}")
        try:
            return cls(
                socket_dir=environ["PLUGIN_UNIX_SOCKET_DIR"],
                client_certificate=environ["PLUGIN_CLIENT_CERT"].encode(),
                lifeline=int(environ["CWTCH_RELAY_PLUGIN_LIFELINE"]),
                log_level=environ.get("CWTCH_RELAY_PLUGIN_LOG_LEVEL", "info"),
            )
        except (KeyError, ValueError) as error:
            raise HandshakeError(f"the environment lacks {error}") from error


@dataclass(frozen=True)
class Identity:
    """The plugin's own key and certificate."""

    key: bytes  # in PEM
    certificate: x509.Certificate

    @classmethod
    def new(cls) -> "Identity":
        """Makes a key pair for "localhost", the name under which the relay connects to
        every plugin. The name has to be a subject alternative name; a common name
        does not count. P-256 is fast everywhere."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=10 * 365))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(key, hashes.SHA256())
        )
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return cls(pem, certificate)

    def credentials(self, client_certificate: bytes) -> grpc.ServerCredentials:
        """Returns credentials that admit only the holder of client_certificate. The
        relay requires TLS 1.3, so grpcio needs no setting for it."""
        chain = self.certificate.public_bytes(serialization.Encoding.PEM)
        return grpc.ssl_server_credentials(
            [(self.key, chain)], root_certificates=client_certificate, require_client_auth=True
        )

    def line(self, socket: str) -> str:
        """Returns the handshake line of a plugin that listens on socket."""
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        certificate = base64.b64encode(der).decode().rstrip("=")
        return f"{GO_PLUGIN_PROTOCOL}|{PROTOCOL}|unix|{socket}|grpc|{certificate}"


# ---- serve ----


def main(plugin: Plugin) -> int:
    log = Log(os.environ.get("CWTCH_RELAY_PLUGIN_LOG_LEVEL", "info"))
    os.umask(0o077)
    set_process_name(f"cwtch-{plugin.name}")
    try:
        environment = RelayEnvironment.read(os.environ)
        if environment is not None:
            return serve(plugin, environment, log)
        if sys.argv[1:] == ["debug"]:
            return debug(plugin, log)
        return explain_start(plugin)
    except HandshakeError as error:
        log.error("no handshake", error=str(error))
    except Exception:
        log.exception("the plugin failed")
    return 1


def serve(plugin: Plugin, environment: RelayEnvironment, log: Log) -> int:
    """Serves until the relay is done with the plugin or gone."""
    # These signals are meant for the relay, which ends the plugin in order.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    lifecycle = Lifecycle()
    identity = Identity.new()
    server = new_server(plugin, lifecycle, log)
    socket = os.path.join(environment.socket_dir, "plugin.sock")
    server.add_secure_port(f"unix:{socket}", identity.credentials(environment.client_certificate))
    server.start()
    print(identity.line(socket), flush=True)
    # Nothing else may be printed. What a library prints becomes a log line.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    wait_for_lifeline_end(environment.lifeline)
    try:
        lifecycle.shutdown(SHUTDOWN_GRACE)
    finally:
        server.stop(None)
    return 0


def wait_for_lifeline_end(lifeline: int) -> None:
    """Waits until the lifeline ends: the relay closes its end of the pipe, or the
    kernel does when the relay dies. Nothing is ever written to it."""
    while os.read(lifeline, 64):
        pass


def debug(plugin: Plugin, log: Log) -> int:
    """Serves relays that attach to this process, until ^C. There is no handshake, TLS
    or lifeline, but only this user can enter the directory of the socket."""
    with tempfile.TemporaryDirectory(prefix="cwtch-plugin-") as directory:
        lifecycle = Lifecycle(reusable=True)
        server = new_server(plugin, lifecycle, log)
        socket = os.path.join(directory, "plugin.sock")
        server.add_insecure_port(f"unix:{socket}")
        server.start()
        name = f"{plugin.kind}/{plugin.name}"
        line = json.dumps({name: {"pid": os.getpid(), "socket": socket, "protocol": PROTOCOL}})
        print(f"CWTCH_REATTACH_PLUGINS='{line}'", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            lifecycle.shutdown(SHUTDOWN_GRACE)
            server.stop(None)
    return 0


def set_process_name(name: str) -> None:
    """Sets the name that ps and top show, at most 15 bytes. Without it, a process that
    is executed through a descriptor has a number for its name."""
    PR_SET_NAME = 15  # prctl(2)
    ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode(), 0, 0, 0)


def explain_start(plugin: Plugin) -> int:
    print(
        f'error: this is the {plugin.kind} plugin "{plugin.name}" of cwtch-relay,'
        f" version {plugin.version}, which a relay starts by itself\n"
        "hint: name it in the configuration of the relay,"
        ' or run it with "debug" to have a relay attach to it',
        file=sys.stderr,
    )
    return 1


def new_server(plugin: Plugin, lifecycle: Lifecycle, log: Log) -> grpc.Server:
    server = grpc.server(
        ThreadPoolExecutor(max_workers=THREADS),
        options=[("grpc.max_receive_message_length", MAX_REQUEST), ("grpc.max_send_message_length", -1)],
    )
    plugin_pb2_grpc.add_PluginServicer_to_server(PluginService(plugin, lifecycle, log), server)
    plugin.add_service(server, lifecycle, log)
    return server


def run(plugin: Plugin) -> None:
    """Runs the plugin and ends the process without waiting for threads of grpc."""
    status = main(plugin)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
