// Tests of this store. "cwtch-plugin test" checks the contract of every store, including
// kill -9 and a full disk.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { Corrupt, NotFound } from './cwtch-plugin.mjs';
import { Store } from './store.mjs';

const record = (over) => ({
  id: randomBytes(32),
  born: 7,
  signature: randomBytes(64),
  ciphertext: randomBytes(100),
  nullifier: randomBytes(32),
  ...over,
});
const statuses = (outcomes) => outcomes.map((o) => o.status);

let dir, file, store;
beforeEach(async () => {
  dir = mkdtempSync(path.join(tmpdir(), 'store-'));
  file = path.join(dir, 'messages.journal');
  store = await Store.open(file);
});
afterEach(async () => {
  await store?.close();
  rmSync(dir, { recursive: true });
});

async function reopen() {
  await store.close();
  store = undefined;
  store = await Store.open(file);
}

test('a reopened store has what was appended', async () => {
  const [a, b] = [record(), record()];
  assert.deepEqual(statuses(await store.append([a, b])), ['STATUS_STORED', 'STATUS_STORED']);
  const before = { info: store.info(), page: await store.log(1, 1024, 256 << 10), spent: store.spendings(Buffer.alloc(0), 1024) };
  assert.deepEqual(before.page.entries[1].ciphertext, b.ciphertext);
  await reopen();
  const after = { info: store.info(), page: await store.log(1, 1024, 256 << 10), spent: store.spendings(Buffer.alloc(0), 1024) };
  assert.deepEqual(after, before);
  assert.equal(store.find(b.signature), 2);
  assert.throws(() => store.find(randomBytes(64)), NotFound);
});

test('a pruned envelope is gone, and its token stays spent', async () => {
  const [old, kept] = [record({ born: 5 }), record({ born: 8 })];
  await store.append([old, kept]);
  assert.deepEqual(await store.prune(7, 100), { floor: 7, envelopes: 1, bytes: 164, more: false });
  for (let i = 0; i < 2; i++) {
    const again = await store.append([old, record({ nullifier: old.nullifier }), record({ born: 6 })]);
    assert.deepEqual(statuses(again), ['STATUS_SPENT', 'STATUS_SPENT', 'STATUS_EXPIRED']);
    assert.deepEqual(store.keys({ born: 0, id: Buffer.alloc(32) }, undefined, 10), [{ born: 8, id: kept.id }]);
    assert.deepEqual((await store.get([old.id, kept.id], 1000)).map((e) => e.seq), [2]);
    assert.deepEqual(store.hours(0, 10), [{ hour: 8, count: 1, bytes: 164 }]);
    await reopen();
    assert.ok(!readFileSync(file).includes(old.ciphertext), 'it has left the disk');
  }
});

test('a token pays once, and a repeated append is not a second spending', async () => {
  const a = record();
  await store.append([a]);
  const other = record({ nullifier: a.nullifier });
  assert.deepEqual(statuses(await store.append([a, other])), ['STATUS_REPLAYED', 'STATUS_SPENT']);
  const unpaid = { ...a, nullifier: Buffer.alloc(0) };
  const rival = record({ signature: a.signature });
  assert.deepEqual(statuses(await store.append([unpaid, rival])), ['STATUS_DUPLICATE', 'STATUS_CONFLICT']);
  const free = { ...other, nullifier: rival.nullifier };
  assert.deepEqual(statuses(await store.append([free])), ['STATUS_STORED'], 'the token of the conflict is unspent');
});

test('an interrupted write is removed', async () => {
  await store.append([record()]);
  const whole = statSync(file).size;
  await store.append([record()]);
  const bytes = readFileSync(file);
  for (const size of [whole + 1, whole + 20, bytes.length - 1]) {
    writeFileSync(file, bytes.subarray(0, size));
    await reopen();
    assert.equal(store.info().last, 1, `${size} of ${bytes.length} bytes`);
    assert.equal(statSync(file).size, whole);
  }
  appendFileSync(file, Buffer.alloc(4096)); // a file system may leave zeros
  await reopen();
  assert.equal(store.info().last, 1);
});

test('damage before the last frame is found, and nothing is removed', async () => {
  await store.append([record()]);
  await store.append([record()]);
  const bytes = readFileSync(file);
  bytes[60] ^= 1;
  writeFileSync(file, bytes);
  await assert.rejects(reopen(), Corrupt);
  assert.equal(statSync(file).size, bytes.length);
});
