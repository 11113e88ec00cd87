"""Tests of this store. "cwtch-plugin test" checks the contract of every store,
including kill -9 and a full disk."""

import os
import secrets
import tempfile
import unittest

from cwtch_plugin import NotFound, Record, Status, Unavailable
from store import Store


def record(**fields: object) -> Record:
    values = {
        "id": secrets.token_bytes(32),
        "born": 7,
        "signature": secrets.token_bytes(64),
        "ciphertext": secrets.token_bytes(100),
        "nullifier": secrets.token_bytes(32),
    }
    return Record(**{**values, **fields})


class StoreTest(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, "messages.db")
        self.store = Store(self.path)
        self.addCleanup(lambda: self.store.close())

    def append(self, *records: Record) -> list[Status]:
        return [outcome.status for outcome in self.store.append(records)]

    def everything(self) -> object:
        return self.store.log(1, 1024, 256 << 10), self.store.spendings(b"", 1024), self.store.info().epoch

    def test_reopened_store_has_what_was_appended(self) -> None:
        a, b = record(), record()
        self.assertEqual(self.append(a, b), [Status.STORED, Status.STORED])
        before = self.everything()
        self.store.close()
        self.store = Store(self.path)
        self.assertEqual(self.everything(), before)
        self.assertEqual(self.store.find(b.signature), 2)
        with self.assertRaises(NotFound):
            self.store.find(secrets.token_bytes(64))

    def test_token_pays_once(self) -> None:
        a = record()
        self.append(a)
        other = record(nullifier=a.nullifier)
        self.assertEqual(self.append(a, other), [Status.REPLAYED, Status.SPENT])

    def test_signature_belongs_to_the_first_envelope(self) -> None:
        a = record()
        self.append(a)
        rival = record(signature=a.signature)
        self.assertEqual(self.append(rival), [Status.CONFLICT])
        self.assertEqual(self.append(record(nullifier=rival.nullifier)), [Status.STORED], "its token is unspent")
        self.assertEqual(self.append(record(signature=a.signature, nullifier=b"")), [Status.STORED], "of a peer")

    def test_pruned_envelope_is_gone_and_its_token_spent(self) -> None:
        old, kept = record(born=5), record(born=8)
        self.append(old, kept)
        pruned = self.store.prune(7, 100)
        self.assertEqual((pruned.floor, pruned.envelopes, pruned.more), (7, 1, False))
        self.assertEqual(self.append(old, record(nullifier=old.nullifier)), [Status.SPENT, Status.SPENT])
        self.assertEqual(self.append(record(born=6)), [Status.EXPIRED])
        self.assertEqual(self.store.keys((0, b""), None, 10), [(8, kept.id)])
        self.assertEqual([e.id for e in self.store.get([old.id, kept.id], 1000)], [kept.id])
        self.assertEqual([(h.hour, h.count) for h in self.store.hours(0, 10)], [(8, 1)])

    def test_error_changes_nothing(self) -> None:
        before = self.everything()
        with self.assertRaises(Exception):
            self.append(record(), record(id=None))
        self.assertEqual(self.everything(), before)

    def test_second_process_is_refused(self) -> None:
        with self.assertRaises(Unavailable):
            Store(self.path)


if __name__ == "__main__":
    unittest.main()
