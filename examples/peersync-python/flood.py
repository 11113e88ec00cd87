"""A replicator: what is on one board reaches the boards of all peers. peersync.proto is the
contract; examples/peersync-flood is the same algorithm in Go.

The functions that call the relay are generators. They yield a HostCall and get the answer,
so that "keys = yield from host.keys(…)" reads like a call. No threads and no second
connection are needed: Service.Handle passes calls and answers through the one stream.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import cwtch_plugin
import grpc
from cwtch.relay.plugin.v1 import peersync_pb2 as pb
from cwtch.relay.plugin.v1 import peersync_pb2_grpc

# ---- calls of the relay ----

MAX_IDS = 1024  # in a push, an offer or a request
MAX_KEYS = 4096  # in an answer
MAX_RANGES = 1024  # in a call
KEY, RANGE = 36, 72  # bytes

Call = Generator[pb.HostCall, Any, Any]


class HostError(Exception):
    """An error of the relay. They are normal: try again later."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.busy = code == grpc.StatusCode.ABORTED.value[0]


class Host:
    """The calls that this replicator makes."""

    def log(self, start: int) -> Call:
        request = pb.ReplicaLogRequest()
        setattr(request, "from", start)
        return (yield pb.HostCall(log=request)).log

    def keys(self, ranges: list[bytes], limit: int) -> Call:
        request = pb.ReplicaKeysRequest(ranges=b"".join(ranges), max=limit)
        answer = yield pb.HostCall(keys=request)
        return [cut(keys, KEY) for keys in answer.keys.keys]

    def sums(self, peer: int, ranges: list[bytes]) -> Call:
        answer = yield pb.HostCall(range_sum=pb.RangeSumRequest(peer=peer, ranges=b"".join(ranges)))
        return [(s.count, s.ids) for s in answer.range_sum.sums]

    def split(self, peer: int, ranges: list[bytes], parts: int) -> Call:
        request = pb.SplitRequest(peer=peer, ranges=b"".join(ranges), parts=parts)
        return (yield pb.HostCall(split=request)).split.ranges

    def send(self, peer: int, message: bytes) -> Call:
        yield pb.HostCall(send=pb.SendRequest(peer=peer, message=message))

    def push(self, peer: int, ids: list[bytes]) -> Call:
        yield pb.HostCall(push=pb.PushRequest(peer=peer, ids=b"".join(ids)))

    def offer(self, peer: int, ids: list[bytes]) -> Call:
        yield pb.HostCall(offer=pb.OfferRequest(peer=peer, ids=b"".join(ids)))

    def request(self, peer: int, keys: list[bytes]) -> Call:
        yield pb.HostCall(request=pb.RequestRequest(peer=peer, keys=b"".join(keys)))

    def drop(self, peer: int, reason: str) -> Call:
        yield pb.HostCall(drop=pb.DropRequest(peer=peer, reason=reason))

    def save(self, name: str, value: bytes) -> Call:
        yield pb.HostCall(save=pb.SaveRequest(cursors=[pb.SaveRequest.Cursor(name=name, value=value)]))

    def load(self, name: str) -> Call:
        return (yield pb.HostCall(load=pb.LoadRequest(name=name))).load.value

    def wake(self, after: int) -> Call:
        yield pb.HostCall(wake=pb.WakeRequest(after=after))

    def report(self, summary: str) -> Call:
        yield pb.HostCall(report=pb.ReportRequest(summary=summary))


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def next_key(key: bytes) -> bytes:
    """The key that follows, in the order of bytes. It is all zeros after the last one."""
    return ((int.from_bytes(key, "big") + 1) % (1 << 8 * KEY)).to_bytes(KEY, "big")


# ---- the algorithm ----

SECOND = 1_000_000_000
COMPARE_PERIOD = 15 * 60 * SECOND  # between two comparisons with a peer, when all goes well
RETRY_TIME = 5 * SECOND  # until the next one, when something was left out
SAVE_TIME = 5 * SECOND  # between two times that the place in the log is saved
MAX_MESSAGES = 600  # of a peer that are read in a minute
MAX_LIST = 32  # keys of a list
MAX_DIFFER = 128  # ranges that are answered, so there are at most 1024 parts and 4096 keys
PARTS = 8
END = bytes(KEY)  # as the upper bound of a range: none

OVER_QUOTA, LOST, UNDER_WAY = pb.Moved.STATUS_OVER_QUOTA, pb.Moved.STATUS_LOST, pb.Moved.STATUS_UNDER_WAY


@dataclass
class Peer:
    """A peer that is up. Times are in nanoseconds since the Start."""

    number: int
    gives: bool
    takes: bool
    floor: int
    compare_at: int
    minute: int
    compare_from: bytes = bytes(KEY)  # where the next comparison begins
    messages: int = 0  # since minute
    full_until: int = 0  # because of its quota
    busy: bool = False  # peer_ready follows
    rest: bytes = b""  # a range that is being offered piece by piece


@dataclass
class Flood:
    host: Host = field(default_factory=Host)
    now: int = 0
    state: pb.ReplicaState = field(default_factory=pb.ReplicaState)
    peers: dict[int, Peer] = field(default_factory=dict)
    asked: set[bytes] = field(default_factory=set)  # ids requested from any peer, not settled yet
    place: tuple[bytes, int] = (b"", 0)  # in the log: epoch, and the first number that was not read
    saved: tuple[bytes, int] | None = None  # None: not loaded yet
    saved_at: int = 0

    def handle(self, events: "list[pb.Event]") -> Call:
        """Notes all that has happened, and then does what there is to do. Calls that fail are
        made up for by a later comparison."""
        for event in events:
            name = event.WhichOneof("event")
            if name:  # a later relay may send others
                getattr(self, "note_" + name)(getattr(event, name))
        for event in events:
            if event.WhichOneof("event") == "peer_message":
                yield from self.answer_message(event.peer_message)
        try:
            yield from self.follow_log()
        except HostError:
            pass  # the next tick tries again
        for number in sorted(self.peers):
            peer = self.peers[number]
            yield from self.attempt(peer, self.offer_rest(peer))
            if peer.compare_at <= self.now and not peer.busy and not peer.rest:
                yield from self.attempt(peer, self.start_comparison(peer))
        yield from self.save_place()

    def attempt(self, peer: Peer, call: Call) -> Call:
        """Makes a call for a peer. If it fails, the boards are compared later."""
        try:
            yield from call
        except HostError as error:
            peer.busy = peer.busy or error.busy
            self.compare_again(peer)

    def compare_again(self, peer: Peer) -> None:
        peer.compare_at = min(peer.compare_at, self.now + RETRY_TIME)

    # What has happened. The methods have the names of the events.

    def note_start(self, start: pb.Start) -> None:
        self.state = start.state

    def note_log_advanced(self, state: pb.ReplicaState) -> None:
        if state.epoch != self.state.epoch:  # another store, which may lack anything
            for peer in self.peers.values():
                peer.compare_at = self.now
        self.state = state

    def note_tick(self, tick: pb.Tick) -> None:
        self.now = max(self.now, tick.now)

    def note_peers_changed(self, changed: pb.PeersChanged) -> None:
        pass

    def note_peer_up(self, up: pb.PeerUp) -> None:
        compare_at = self.now if up.initiator else self.now + COMPARE_PERIOD  # one end begins
        self.peers[up.peer] = Peer(up.peer, up.gives, up.takes, up.state.floor, compare_at, self.now)

    def note_peer_down(self, down: pb.PeerDown) -> None:
        self.peers.pop(down.peer, None)

    def note_peer_moved(self, moved: pb.PeerMoved) -> None:
        if peer := self.peers.get(moved.peer):
            peer.floor = moved.state.floor

    def note_peer_ready(self, ready: pb.PeerReady) -> None:
        if peer := self.peers.get(ready.peer):
            peer.busy = False

    def note_peer_message(self, message: pb.PeerMessage) -> None:
        pass  # answered when all is noted

    def note_sent(self, sent: pb.Moved) -> None:
        peer = self.peers.get(sent.peer)
        if peer and OVER_QUOTA in sent.statuses:
            peer.full_until = self.now + min(sent.retry_after, 3600 * SECOND)
            peer.compare_at = min(peer.compare_at, max(peer.full_until, self.now + RETRY_TIME))
        if peer and LOST in sent.statuses:
            self.compare_again(peer)

    def note_received(self, received: pb.Moved) -> None:
        self.asked.difference_update(cut(received.ids, 32))
        peer = self.peers.get(received.peer)
        if peer and (LOST in received.statuses or UNDER_WAY in received.statuses):
            self.compare_again(peer)

    # The log: what is new goes to the peers.

    def follow_log(self) -> Call:
        if self.saved is None:
            value = yield from self.host.load("log")
            self.place = (value[:16], int.from_bytes(value[16:], "big"))
            self.saved = self.place
        if self.place[0] != self.state.epoch:  # begin at the end: a comparison finds the rest
            self.place = (self.state.epoch, self.state.last + 1)
        epoch, start = self.place
        if start > self.state.last:
            return
        page = yield from self.host.log(start)
        if page.epoch != epoch:
            return  # log_advanced follows
        for number in sorted(self.peers):
            yield from self.send_entries(self.peers[number], page.entries)
        self.place = (epoch, 1 + (page.entries[-1].seq if page.entries else page.last))
        if self.place[1] <= page.last:
            yield from self.host.wake(0)  # after other events

    def send_entries(self, peer: Peer, entries: "list[pb.ReplicaLogResponse.Entry]") -> Call:
        push = [e.key[4:] for e in entries if e.via == 0]
        if push and peer.takes and self.now >= peer.full_until:
            yield from self.attempt(peer, self.host.push(peer.number, push))
        yield from self.attempt(peer, self.offer(peer, [e.key[4:] for e in entries if e.via not in (0, peer.number)]))

    def offer(self, peer: Peer, ids: list[bytes]) -> Call:
        if peer.takes and self.now >= peer.full_until:
            for at in range(0, len(ids), MAX_IDS):
                yield from self.host.offer(peer.number, ids[at : at + MAX_IDS])

    def save_place(self) -> Call:
        if self.saved is None or self.place == self.saved or self.now < self.saved_at + SAVE_TIME:
            return
        self.saved_at = self.now
        try:
            yield from self.host.save("log", self.place[0] + self.place[1].to_bytes(8, "big"))
            self.saved = self.place
            yield from self.host.report(f"has passed on the log up to entry {self.place[1] - 1}")
        except HostError:
            pass  # later again

    # Comparing boards. A message has all that its answer depends on.

    def clip(self, peer: Peer, in_range: bytes) -> bytes:
        """Cuts a range to what is above both floors. Nothing may be left."""
        floor = max(self.state.floor, peer.floor).to_bytes(4, "big") + bytes(32)
        low, high = max(in_range[:KEY], floor), in_range[KEY:]
        return low + high if high == END or low < high else b""

    def start_comparison(self, peer: Peer) -> Call:
        peer.compare_at = self.now + COMPARE_PERIOD
        in_range = self.clip(peer, peer.compare_from + END)
        if any(peer.compare_from):
            peer.compare_from = bytes(KEY)
            self.compare_again(peer)  # from the beginning, if nothing is left out this time
        sums = yield from self.host.sums(peer.number, [in_range])
        yield from self.host.send(peer.number, encode_sums([(in_range, sums[0])]))

    def answer_message(self, message: pb.PeerMessage) -> Call:
        """Ignores what makes no sense, and closes the link to a peer that sends too much."""
        peer = self.peers.get(message.peer)
        if peer is None:
            return
        if self.now >= peer.minute + 60 * SECOND:
            peer.minute, peer.messages = self.now, 0
        peer.messages += 1
        if peer.messages == MAX_MESSAGES + 1:
            yield from self.attempt(peer, self.host.drop(peer.number, "its twin sends too many messages"))
        if peer.messages > MAX_MESSAGES:
            return
        try:
            if message.data[:1] == SUMS:
                sums = [(self.clip(peer, r), s) for r, s in decode_sums(message.data)]
                yield from self.attempt(peer, self.answer_sums(peer, [(r, s) for r, s in sums if r]))
            elif message.data[:1] == LISTS:
                yield from self.attempt(peer, self.answer_lists(peer, decode_lists(message.data)))
        except Malformed:
            pass

    def answer_sums(self, peer: Peer, theirs: "list[tuple[bytes, Sum]]") -> Call:
        if not theirs:
            return
        mine = yield from self.host.sums(peer.number, [r for r, _ in theirs])
        different = [(r, my, their) for (r, their), my in zip(theirs, mine, strict=True) if my != their]
        if len(different) > MAX_DIFFER:  # differences that stay must not hide those behind them
            peer.compare_from = different[MAX_DIFFER][0][:KEY]
            self.compare_again(peer)
        answer, lists, splits = [], [], []
        for r, my, their in different[:MAX_DIFFER]:
            if my[0] <= MAX_LIST:
                lists.append(r)
            elif their[0] <= MAX_LIST:
                answer.append((r, my))  # the twin will answer with a list
            else:
                splits.append(r)
        if splits:
            parts = yield from self.host.split(peer.number, splits, PARTS)
            for r, p in zip(splits, parts, strict=True):
                answer.extend(cover(r, p.parts))
        if answer:
            yield from self.host.send(peer.number, encode_sums(answer))
        if lists:
            keys = yield from self.host.keys(lists, MAX_KEYS)
            yield from self.host.send(peer.number, encode_lists(list(zip(lists, keys, strict=False))))

    def answer_lists(self, peer: Peer, lists: list[tuple[bytes, list[bytes]]]) -> Call:
        """Offers what is here and not in the lists, and requests what is only there."""
        mine = yield from self.host.keys([r for r, _ in lists], MAX_KEYS)
        if len(mine) < len(lists):
            self.compare_again(peer)
        offer, request, count = [], [], 0
        for (r, theirs), keys in zip(lists, mine, strict=False):
            count += len(keys)
            if count == MAX_KEYS:  # the last list may go on
                theirs = [k for k in theirs if k <= keys[-1]]
                self.offer_later(peer, next_key(keys[-1]) + r[KEY:])
            here, there = set(keys), set(theirs)
            offer += [k[4:] for k in keys if k not in there]
            request += [k for k in theirs if k not in here]
        yield from self.attempt(peer, self.offer(peer, offer))
        yield from self.request(peer, request)

    def request(self, peer: Peer, keys: list[bytes]) -> Call:
        """Requests envelopes, apart from those that are requested already from any peer."""
        if not peer.gives:
            return
        fresh = [k for k in keys if k[4:] not in self.asked]
        if len(fresh) < len(keys):
            self.compare_again(peer)
        for at in range(0, len(fresh), MAX_IDS):
            yield from self.host.request(peer.number, fresh[at : at + MAX_IDS])
            self.asked.update(k[4:] for k in fresh[at : at + MAX_IDS])

    def offer_later(self, peer: Peer, in_range: bytes) -> None:
        self.compare_again(peer)  # after that
        if peer.takes and not peer.rest:
            peer.rest = self.clip(peer, in_range)

    def offer_rest(self, peer: Peer) -> Call:
        """Goes on offering until too much is under way."""
        while peer.rest and not peer.busy and self.now >= peer.full_until:
            (keys,) = yield from self.host.keys([peer.rest], MAX_IDS)
            if keys:
                yield from self.host.offer(peer.number, [k[4:] for k in keys])
            peer.rest = next_key(keys[-1]) + peer.rest[KEY:] if keys else b""


def cover(in_range: bytes, parts: "list[pb.SplitResponse.Part]") -> "list[tuple[bytes, Sum]]":
    """Adjacent ranges that cover a range, each with the keys of one part."""
    bounds = [in_range[:KEY]] + [p.ends[:KEY] for p in parts[1:]] + [in_range[KEY:]]
    return [(bounds[i] + bounds[i + 1], (p.sum.count, p.sum.ids)) for i, p in enumerate(parts)]


# ---- messages between twins ----
#
# sums:  1, and then for each range: the range, count (8 bytes), sum of the ids (32 bytes)
# lists: 2, and then for each range: the range, count (2 bytes), that many keys, ascending

SUMS, LISTS = b"\x01", b"\x02"
SUM_SIZE = RANGE + 8 + 32

Sum = tuple[int, bytes]


class Malformed(Exception):
    """A message that makes no sense."""


def encode_sums(sums: list[tuple[bytes, Sum]]) -> bytes:
    return SUMS + b"".join(r + count.to_bytes(8, "big") + ids for r, (count, ids) in sums)


def encode_lists(lists: list[tuple[bytes, list[bytes]]]) -> bytes:
    return LISTS + b"".join(r + len(keys).to_bytes(2, "big") + b"".join(keys) for r, keys in lists)


def decode_range(data: bytes) -> bytes:
    if len(data) != RANGE or data[KEY:] != END and data[:KEY] >= data[KEY:]:
        raise Malformed
    return data


def decode_sums(message: bytes) -> list[tuple[bytes, Sum]]:
    if (len(message) - 1) % SUM_SIZE or not 1 <= len(message) // SUM_SIZE <= MAX_RANGES:
        raise Malformed
    return [
        (decode_range(s[:RANGE]), (int.from_bytes(s[RANGE : RANGE + 8], "big"), s[RANGE + 8 :]))
        for s in cut(message[1:], SUM_SIZE)
    ]


def decode_lists(message: bytes) -> list[tuple[bytes, list[bytes]]]:
    lists, at, total = [], 1, 0
    while at < len(message):
        in_range = decode_range(message[at : at + RANGE])
        count = int.from_bytes(message[at + RANGE : at + RANGE + 2], "big")
        at += RANGE + 2
        total += count
        if at + count * KEY > len(message) or total > MAX_KEYS or len(lists) == MAX_DIFFER:
            raise Malformed
        keys = cut(message[at : at + count * KEY], KEY)
        at += count * KEY
        low, high = in_range[:KEY], in_range[KEY:]
        ascending = all(a < b for a, b in zip(keys, keys[1:], strict=False))
        if not ascending or keys and (keys[0] < low or high != END and keys[-1] >= high):
            raise Malformed
        lists.append((in_range, keys))
    if not lists:
        raise Malformed
    return lists


# ---- the plugin ----


class Session:
    """What is open between Configure and Shutdown."""

    degraded = ""
    replicator: Flood | None = None  # None: the next event has to be a Start

    def close(self) -> None:
        pass


class Service(peersync_pb2_grpc.PeerSyncServicer):
    def __init__(self, lifecycle: cwtch_plugin.Lifecycle, log: cwtch_plugin.Log) -> None:
        self.lifecycle = lifecycle
        self.log = log

    def Handle(
        self, requests: Iterator[pb.HandleRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.HandleResponse]:
        try:
            with self.lifecycle.store() as session:
                yield from self.run(session, requests, context)
        except cwtch_plugin.Unavailable as error:
            context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        except Exception as error:
            if not context.is_active():
                return  # the relay has given up this Handle
            self.log.exception("Handle failed")
            context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__} in Handle")

    def run(
        self, session: Session, requests: Iterator[pb.HandleRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.HandleResponse]:
        """Passes calls of the replicator and answers of the relay through the stream."""
        request = next(requests, None)
        events = request.events if request else []
        replicator, session.replicator = session.replicator, None  # gone if this fails
        for at, event in enumerate(events):
            if event.WhichOneof("event") == "start":
                replicator, events = Flood(), events[at:]
        if replicator is None and events:
            context.set_code(grpc.StatusCode.FAILED_PRECONDITION)
            context.set_details("the first event is not a start")
            return
        if replicator is None:
            return
        work, answer = replicator.handle(events), None
        while True:
            try:
                if answer is not None and answer.code:
                    call = work.throw(HostError(answer.code, answer.text))
                else:
                    call = work.send(answer)
            except StopIteration:
                session.replicator = replicator
                return
            yield pb.HandleResponse(call=call)
            request = next(requests, None)
            if request is None:
                return  # the relay has given up this Handle
            answer = request.answer


class PeerSyncPlugin(cwtch_plugin.Plugin):
    kind = "peersync"

    def capabilities(self) -> list[int]:
        return []

    def add_service(self, server: grpc.Server, lifecycle: cwtch_plugin.Lifecycle, log: cwtch_plugin.Log) -> None:
        peersync_pb2_grpc.add_PeerSyncServicer_to_server(Service(lifecycle, log), server)


PLUGIN = PeerSyncPlugin(
    name="flood_python",
    version="0.1.0",
    doc="Sends every envelope to every peer that lacks it.",
    validate=lambda config: [],
    open=lambda config, directory: Session(),
)


def main() -> None:
    cwtch_plugin.run(PLUGIN)
