"""Tests of the messages and of comparisons. "cwtch-plugin test" checks the contract and what the plugin claims."""

import unittest

from flood import END, KEY, MAX_DIFFER, MAX_KEYS, MAX_RANGES, RANGE, RETRY_TIME, Call, Flood, Malformed, Peer
from flood import cut, decode_lists, decode_sums, encode_lists, encode_sums, next_key, pb

WHOLE = bytes(RANGE)
LOW, HIGH = b"\1" * KEY, b"\3" * KEY


def make_keys(count: int) -> list[bytes]:
    keys = [LOW]
    while len(keys) < count:
        keys.append(next_key(keys[-1]))
    return keys


class MessagesTest(unittest.TestCase):
    def test_round_trip(self) -> None:
        sums = [(WHOLE, (1 << 60, b"\2" * 32)), (LOW + HIGH, (0, bytes(32)))]
        self.assertEqual(decode_sums(encode_sums(sums)), sums)
        lists = [(WHOLE, []), (LOW + HIGH, make_keys(2)), (LOW + END, make_keys(MAX_KEYS - 2))]
        self.assertEqual(decode_lists(encode_lists(lists)), lists)

    def test_refused(self) -> None:
        zero = (0, bytes(32))
        sums, lists = encode_sums([(WHOLE, zero)]), encode_lists([(WHOLE, make_keys(2))])
        for decode, message in [
            (decode_sums, sums[:-1]),
            (decode_sums, sums + b"\0"),
            (decode_sums, encode_sums([])),
            (decode_sums, encode_sums([(HIGH + LOW, zero)])),
            (decode_sums, encode_sums([(LOW + LOW, zero)])),
            (decode_sums, encode_sums([(WHOLE, zero)] * (MAX_RANGES + 1))),
            (decode_lists, lists[:-1]),
            (decode_lists, lists + b"\0"),
            (decode_lists, encode_lists([])),
            (decode_lists, encode_lists([(HIGH + LOW, [])])),
            (decode_lists, encode_lists([(LOW + HIGH, [HIGH])])),
            (decode_lists, encode_lists([(WHOLE, [LOW, LOW])])),
            (decode_lists, encode_lists([(WHOLE, make_keys(MAX_KEYS + 1))])),
            (decode_lists, encode_lists([(WHOLE, [])] * (MAX_DIFFER + 1))),
        ]:
            with self.subTest(decode=decode.__name__, size=len(message)), self.assertRaises(Malformed):
                decode(message)


class ComparisonTest(unittest.TestCase):
    """The relay of these tests has no keys."""

    def run_call(self, call: Call) -> list[pb.HostCall]:
        calls, answer = [], None
        try:
            while True:
                calls.append(call.send(answer))
                answer = pb.HostAnswer()
                if calls[-1].HasField("range_sum"):
                    for _ in cut(calls[-1].range_sum.ranges, RANGE):
                        answer.range_sum.sums.add(ids=bytes(32))
                if calls[-1].HasField("keys"):
                    for _ in cut(calls[-1].keys.ranges, RANGE):
                        answer.keys.keys.append(b"")
        except StopIteration:
            return calls

    def test_left_out(self) -> None:
        """What one comparison leaves out begins the next one, and then it is the beginning's turn."""
        flood, peer = Flood(), Peer(1, gives=True, takes=True, floor=0, compare_at=0, minute=0)
        bounds = make_keys(MAX_DIFFER + 3)
        theirs = [(low + high, (1, b"\1" * 32)) for low, high in zip(bounds, bounds[1:], strict=False)]
        self.run_call(flood.answer_sums(peer, theirs))
        self.assertEqual(peer.compare_from, bounds[MAX_DIFFER])
        for begin in [bounds[MAX_DIFFER], bytes(KEY)]:
            calls = self.run_call(flood.start_comparison(peer))
            self.assertEqual(calls[0].range_sum.ranges, begin + END)
            self.assertEqual(peer.compare_at == RETRY_TIME, begin != bytes(KEY))


if __name__ == "__main__":
    unittest.main()
