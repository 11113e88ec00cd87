"""The services that the relay calls: protobuf on one side, Life and Store on the
other."""

import functools
import os
from collections.abc import Callable
from typing import Any

import grpc
import msgpack
from cwtch.relay.plugin.v1 import plugin_pb2, plugin_pb2_grpc, storage_pb2, storage_pb2_grpc

from . import VERSION, store
from .life import Life
from .log import Log

DESCRIPTION = plugin_pb2.DescribeResponse(
    kind="storage",
    name="python",
    version=VERSION,
    doc="Keeps envelopes in a SQLite database; an example in Python.",
    protocols=[1],
    capabilities=[plugin_pb2.CAPABILITY_STORAGE_LEDGER],
    schema=plugin_pb2.Schema(
        attributes=[
            plugin_pb2.Attribute(
                name="path",
                type=plugin_pb2.Attribute.TYPE_STRING,
                default="messages.db",
                doc="The database, a file in the directory of the plugin.",
            )
        ]
    ),
)


class Malformed(Exception):
    """A request that no relay makes."""


# The codes that storage.proto gives to errors. The first class that fits counts.
CODES: dict[type[Exception], grpc.StatusCode] = {
    store.NotFound: grpc.StatusCode.NOT_FOUND,
    store.TooLarge: grpc.StatusCode.OUT_OF_RANGE,
    store.Full: grpc.StatusCode.FAILED_PRECONDITION,
    store.Corrupt: grpc.StatusCode.DATA_LOSS,
    store.Unavailable: grpc.StatusCode.UNAVAILABLE,
    store.StoreError: grpc.StatusCode.UNKNOWN,
    TimeoutError: grpc.StatusCode.DEADLINE_EXCEEDED,
    Malformed: grpc.StatusCode.INVALID_ARGUMENT,
}

Context = grpc.ServicerContext
Method = Callable[[Any, Any, Context], Any]


def answered(method: Method) -> Method:
    """Turns what a method raises into the code of its answer."""

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
    """What plugins of every kind serve."""

    def __init__(self, life: Life, log: Log) -> None:
        self.life = life
        self.log = log

    @answered
    def Describe(self, request: plugin_pb2.DescribeRequest, context: Context) -> plugin_pb2.DescribeResponse:
        return DESCRIPTION

    @answered
    def Validate(self, request: plugin_pb2.ValidateRequest, context: Context) -> plugin_pb2.ValidateResponse:
        return plugin_pb2.ValidateResponse(diagnostics=faults(decode(request.config)))

    @answered
    def Configure(self, request: plugin_pb2.ConfigureRequest, context: Context) -> plugin_pb2.ConfigureResponse:
        config = decode(request.config)
        if not os.path.isabs(request.dir):
            raise Malformed(f"the directory {request.dir!r} is not absolute")
        if diagnostics := faults(config):
            return plugin_pb2.ConfigureResponse(diagnostics=diagnostics)
        path = os.path.join(request.dir, config["path"])
        self.life.configure((request.config, request.dir), lambda: store.Store(path), context.time_remaining())
        return plugin_pb2.ConfigureResponse(capabilities=DESCRIPTION.capabilities)

    @answered
    def Health(self, request: plugin_pb2.HealthRequest, context: Context) -> plugin_pb2.HealthResponse:
        failed, reason = self.life.health()
        response = plugin_pb2.HealthResponse
        status = response.STATUS_FAILED if failed else response.STATUS_DEGRADED if reason else response.STATUS_READY
        return response(status=status, reason=reason)

    @answered
    def Drain(self, request: plugin_pb2.DrainRequest, context: Context) -> plugin_pb2.DrainResponse:
        self.life.drain(context.time_remaining())
        return plugin_pb2.DrainResponse()

    @answered
    def Shutdown(self, request: plugin_pb2.ShutdownRequest, context: Context) -> plugin_pb2.ShutdownResponse:
        self.life.shutdown(context.time_remaining())
        return plugin_pb2.ShutdownResponse()


def decode(config: bytes) -> dict[str, Any]:
    """Decodes a configuration, which the relay has checked by the schema."""
    try:
        value = msgpack.unpackb(config)
    except ValueError as error:
        raise Malformed(f"configuration: {error}") from error
    if not isinstance(value, dict) or not isinstance(value.get("path"), str):
        raise Malformed("configuration: it does not keep the schema")
    return value


def faults(config: dict[str, Any]) -> list[plugin_pb2.Diagnostic]:
    """Looks for what the schema can not express. The relay shows a diagnostic
    with the line of its configuration that the path leads to."""
    name = config["path"]
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        return [
            plugin_pb2.Diagnostic(
                summary="path is not the name of a file",
                detail="Write a name without slashes; the file is made in the directory of the plugin.",
                path=["path"],
            )
        ]
    return []


class StorageService(storage_pb2_grpc.StorageServicer):
    """The calls to a store. Watch is left out, and not announced either: nobody
    else appends to this store."""

    def __init__(self, life: Life, log: Log) -> None:
        self.life = life
        self.log = log

    @answered
    def Info(self, request: storage_pb2.InfoRequest, context: Context) -> storage_pb2.InfoResponse:
        with self.life.store() as s:
            info = s.info()
        return storage_pb2.InfoResponse(
            epoch=info.epoch, first=info.first, last=info.last, count=info.count, bytes=info.bytes, tokens=info.tokens
        )

    @answered
    def Append(self, request: storage_pb2.AppendRequest, context: Context) -> storage_pb2.AppendResponse:
        records = [
            store.Record(
                id=exactly(32, r.id, "id"),
                born=r.born,
                signature=r.signature,
                ciphertext=r.ciphertext,
                nullifier=r.nullifier and exactly(32, r.nullifier, "nullifier"),
            )
            for r in request.records
        ]
        with self.life.store() as s:
            outcomes = s.append(records)
        return storage_pb2.AppendResponse(outcomes=[storage_pb2.Outcome(status=o.status, seq=o.seq) for o in outcomes])

    @answered
    def Log(self, request: storage_pb2.LogRequest, context: Context) -> storage_pb2.LogResponse:
        with self.life.store() as s:
            entries, last = s.log(getattr(request, "from"), request.max, request.max_bytes)
        return storage_pb2.LogResponse(
            entries=[
                storage_pb2.Entry(seq=e.seq, id=e.id, born=e.born, signature=e.signature, ciphertext=e.ciphertext)
                for e in entries
            ],
            last=last,
        )

    @answered
    def Find(self, request: storage_pb2.FindRequest, context: Context) -> storage_pb2.FindResponse:
        with self.life.store() as s:
            return storage_pb2.FindResponse(seq=s.find(request.signature))

    @answered
    def Spendings(self, request: storage_pb2.SpendingsRequest, context: Context) -> storage_pb2.SpendingsResponse:
        after = request.after and exactly(16, request.after, "token")
        with self.life.store() as s:
            page = s.spendings(after, request.max)
        return storage_pb2.SpendingsResponse(
            spendings=[storage_pb2.Spending(token=token, id=paid_for) for token, paid_for in page]
        )

    @answered
    def Spend(self, request: storage_pb2.SpendRequest, context: Context) -> storage_pb2.SpendResponse:
        spendings = [(exactly(16, s.token, "token"), exactly(32, s.id, "id")) for s in request.spendings]
        with self.life.store() as s:
            s.spend(spendings)
        return storage_pb2.SpendResponse()


def exactly(size: int, value: bytes, what: str) -> bytes:
    if len(value) != size:
        raise Malformed(f"{what} of {len(value)} bytes")
    return value
