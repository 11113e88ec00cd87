"""Tests of the messages. "cwtch-plugin test" checks the contract and what the plugin claims."""

import unittest

from flood import END, KEY, MAX_DIFFER, MAX_KEYS, MAX_RANGES, RANGE, Malformed
from flood import decode_lists, decode_sums, encode_lists, encode_sums, next_key

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


if __name__ == "__main__":
    unittest.main()
