// A store of envelopes and spent tokens. Replace it by your own: keep the tests and change
// the rest. The contract is in proto/cwtch/relay/plugin/v1/storage.proto.
//
// Each batch is appended to one file, the journal, as one frame:
//
//   file    "cwtchNJ1", epoch (16 bytes), frames
//   frame   length of the payload (4 bytes, big-endian), the first 8 bytes of its
//           SHA-256, payload
//   payload items: kind (1 byte), id (32), token (16, unless kind is ENVELOPE), and
//           unless kind is TOKEN: born (4), length of signature (2) and of ciphertext
//           (2), signature, ciphertext
//
// Memory holds the location of each envelope and the indexes to find it. A batch is flushed
// to the disk before it is answered and before any reader sees it.

import { createHash, randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { Corrupt, Full, NotFound, StoreError } from './cwtch-plugin.mjs';

const MAGIC = Buffer.from('cwtchNJ1');
const START = MAGIC.length + 16; // offset of the first frame
const HEADER = 12; // size of the header of a frame
const MAX_FRAME = 2 << 20; // larger than any batch

const [ENVELOPE, PAID, TOKEN] = [1, 2, 3];

// Keys of maps are strings with one character for each byte. They sort like the bytes.
const toKey = (bytes) => bytes.toString('latin1');
const fromKey = (key) => Buffer.from(key, 'latin1');
const sha256 = (bytes) => createHash('sha256').update(bytes).digest();
const tokenKey = (nullifier) => toKey(sha256(nullifier).subarray(0, 16));

export class Store {
  /** Why the operator should look after the store, or ''. */
  degraded = '';

  #path;
  #file;
  #end = START; // offset behind the last complete frame
  #broken; // why the journal can no longer be trusted
  #lastWrite = Promise.resolve(); // the last write

  #epoch;
  #log = []; // #log[i] is the location of the envelope with sequence number i+1
  #byId = new Map(); // id to sequence number
  #bySignature = new Map(); // hash of a signature to its lowest sequence number
  #spent = new Map(); // token to the id of its envelope
  #tokens; // the keys of #spent in order, or undefined

  /** Opens the journal at a path, or begins a new one. */
  static async open(name) {
    const store = new Store();
    store.#path = name;
    try {
      store.#file = await open(name, 'r+').catch((error) => {
        if (error.code !== 'ENOENT') throw error;
        return open(name, 'wx+', 0o600);
      });
      await store.#load();
    } catch (error) {
      await store.#file?.close();
      throw translateError(name, error);
    }
    return store;
  }

  async #load() {
    const { size } = await this.#file.stat();
    const start = await this.#read(0, START);
    if (start.length < START) {
      // A new file, or one whose creation was interrupted.
      this.#epoch = randomBytes(16);
      await this.#write(0, Buffer.concat([MAGIC, this.#epoch]));
      const dir = await open(path.dirname(this.#path), 'r');
      await dir.sync(); // makes the name durable
      await dir.close();
      return;
    }
    if (!start.subarray(0, MAGIC.length).equals(MAGIC)) {
      throw new StoreError('it is not a journal of this plugin, or it belongs to another version');
    }
    this.#epoch = start.subarray(MAGIC.length);
    for (;;) {
      const header = await this.#read(this.#end, HEADER);
      const length = header.length < HEADER ? 0 : header.readUInt32BE();
      const whole = length > 0 && length <= MAX_FRAME;
      const payload = whole ? await this.#read(this.#end + HEADER, length) : Buffer.alloc(0);
      if (whole && payload.length === length && sha256(payload).compare(header, 4, HEADER, 0, 8) === 0) {
        this.#apply(payload, this.#end + HEADER);
        this.#end += HEADER + length;
        continue;
      }
      // An interrupted write, never acknowledged. If other frames follow, it is damage.
      const rest = size - this.#end;
      if (rest > MAX_FRAME || (whole && payload.length === length && rest > HEADER + length)) {
        throw new Corrupt(`the frame at ${this.#end} is damaged; replace the file by a copy`);
      }
      if (rest > 0) await this.#truncate();
      return;
    }
  }

  info() {
    const last = this.#log.length;
    return { epoch: this.#epoch, first: Math.min(1, last), last, count: last, bytes: this.#end, tokens: this.#spent.size };
  }

  /** Applies all records in order, or none. Returns when that is durable. */
  append(records) {
    return this.#serialize(async () => {
      const { outcomes, items } = this.#decide(records);
      await this.#commit(items);
      return outcomes;
    });
  }

  /** Returns as many entries from a sequence number on as fit, and the last sequence number. */
  async log(from, max, maxBytes) {
    if (this.#broken) throw this.#broken;
    const last = this.#log.length;
    let room = maxBytes;
    const locations = [];
    for (let seq = from; seq <= last && locations.length < max; seq++) {
      const location = this.#log[seq - 1];
      room -= location.signature + location.ciphertext;
      if (room < 0 && locations.length > 0) break;
      locations.push(location);
    }
    try {
      const bodies = await this.#readBodies(locations);
      return { entries: locations.map((location, i) => toEntry(from + i, location, bodies[i])), last };
    } catch (error) {
      throw translateError(this.#path, error);
    }
  }

  /** Returns the lowest sequence number of an envelope with the signature. */
  find(signature) {
    const seq = this.#bySignature.get(toKey(sha256(signature)));
    if (!seq) throw new NotFound('no envelope has this signature');
    return seq;
  }

  /** Returns spent tokens above after in ascending order, with the ids of their envelopes. */
  spendings(after, max) {
    this.#tokens ??= [...this.#spent.keys()].sort();
    let [low, high] = [0, this.#tokens.length];
    for (const token = toKey(after); low < high; ) {
      const middle = (low + high) >> 1;
      if (this.#tokens[middle] > token || after.length === 0) high = middle;
      else low = middle + 1;
    }
    const page = this.#tokens.slice(low, low + max);
    return page.map((token) => ({ token: fromKey(token), id: fromKey(this.#spent.get(token)) }));
  }

  /** Records tokens as spent. A token that is spent already keeps its first envelope. */
  async spend(spendings) {
    await this.#serialize(() => {
      const unspent = new Map();
      for (const { token, id } of spendings) {
        if (!this.#spent.has(toKey(token)) && !unspent.has(toKey(token))) unspent.set(toKey(token), id);
      }
      return this.#commit([...unspent].map(([token, id]) => encodeItem({ id }, token, true)));
    });
  }

  async close() {
    await this.#lastWrite;
    await this.#file.close();
  }

  /** Runs one write after the other. */
  #serialize(work) {
    const done = this.#lastWrite.then(work);
    this.#lastWrite = done.catch(() => {});
    return done;
  }

  /**
   * Returns the outcome of each record and the items to write. It changes nothing. It checks
   * the token of a record first, then the id, then the signature.
   */
  #decide(records) {
    const [outcomes, items] = [[], []];
    const [added, paid, signed] = [new Map(), new Map(), new Set()]; // by earlier records of the batch
    for (const record of records) {
      const [id, signature] = [toKey(record.id), toKey(sha256(record.signature))];
      const token = record.nullifier.length > 0 ? tokenKey(record.nullifier) : '';
      const seq = this.#byId.get(id) ?? added.get(id);
      const paidFor = token && (this.#spent.get(token) ?? paid.get(token));
      if (paidFor) {
        outcomes.push(paidFor === id && seq ? { status: 'STATUS_REPLAYED', seq } : { status: 'STATUS_SPENT' });
        continue;
      }
      const taken = record.signature.length > 0 && (this.#bySignature.has(signature) || signed.has(signature));
      if (token && !seq && taken) {
        outcomes.push({ status: 'STATUS_CONFLICT' }); // the token is not spent
        continue;
      }
      if (token) paid.set(token, id);
      if (token || !seq) items.push(encodeItem(record, token, Boolean(seq)));
      if (seq) {
        outcomes.push({ status: 'STATUS_DUPLICATE', seq });
        continue;
      }
      added.set(id, this.#log.length + added.size + 1);
      signed.add(signature);
      outcomes.push({ status: 'STATUS_STORED', seq: added.get(id) });
    }
    return { outcomes, items };
  }

  /** Writes items as one frame. Readers see them once it is durable. */
  async #commit(items) {
    if (this.#broken) throw this.#broken;
    if (items.length === 0) return;
    const payload = Buffer.concat(items);
    const header = Buffer.alloc(HEADER);
    header.writeUInt32BE(payload.length);
    sha256(payload).copy(header, 4, 0, 8);
    const at = this.#end + HEADER;
    try {
      await this.#write(this.#end, Buffer.concat([header, payload]));
    } catch (error) {
      await this.#truncate().catch((cause) => {
        this.#broken = new Corrupt(`${this.#path}: a failed write could not be undone: ${cause.message}`);
      });
      const reason = translateError(this.#path, error);
      this.degraded = reason.message;
      throw reason;
    }
    this.degraded = '';
    this.#apply(payload, at);
  }

  /** Adds the items of a frame to the indexes. offset is where its payload begins. */
  #apply(payload, offset) {
    for (let at = 0; at < payload.length; ) {
      const kind = payload[at];
      const id = toKey(payload.subarray(at + 1, at + 33));
      at += 33;
      if (kind !== ENVELOPE) {
        this.#spent.set(toKey(payload.subarray(at, at + 16)), id);
        this.#tokens = undefined;
        at += 16;
      }
      if (kind === TOKEN) continue;
      const [born, signature, ciphertext] = [payload.readUInt32BE(at), payload.readUInt16BE(at + 4), payload.readUInt16BE(at + 6)];
      at += 8;
      const seq = this.#log.push({ id, born, signature, ciphertext, at: offset + at });
      this.#byId.set(id, seq);
      const hash = toKey(sha256(payload.subarray(at, at + signature)));
      if (!this.#bySignature.has(hash)) this.#bySignature.set(hash, seq);
      at += signature + ciphertext;
    }
  }

  /** Reads signatures and ciphertexts. Neighbouring ones are read with one call. */
  async #readBodies(locations) {
    const bodies = [];
    for (let i = 0; i < locations.length; ) {
      const begin = locations[i].at;
      let end = begin;
      let next = i;
      for (; next < locations.length && locations[next].at - end < 128; next++) {
        end = locations[next].at + locations[next].signature + locations[next].ciphertext;
      }
      const run = await this.#read(begin, end - begin);
      if (run.length < end - begin) throw new Corrupt('the file is shorter than it was');
      for (; i < next; i++) bodies.push(run.subarray(locations[i].at - begin));
    }
    return bodies;
  }

  /** Reads size bytes, or fewer at the end of the file. */
  async #read(at, size) {
    const buffer = Buffer.allocUnsafe(size);
    let done = 0;
    while (done < size) {
      const { bytesRead } = await this.#file.read(buffer, done, size - done, at + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return buffer.subarray(0, done);
  }

  /** Writes data at an offset and returns when it is durable. The journal ends behind it. */
  async #write(at, data) {
    for (let done = 0; done < data.length; ) {
      const { bytesWritten } = await this.#file.write(data, done, data.length - done, at + done);
      done += bytesWritten;
    }
    await this.#file.datasync();
    this.#end = at + data.length;
  }

  /** Removes what follows the last complete frame. */
  async #truncate() {
    await this.#file.truncate(this.#end);
    await this.#file.datasync();
  }
}

/** Encodes an envelope and its token, or a token alone. */
function encodeItem(record, token, alone) {
  const begin = [Buffer.of(alone ? TOKEN : token ? PAID : ENVELOPE), record.id, fromKey(token)];
  if (alone) return Buffer.concat(begin);
  const fixed = Buffer.alloc(8);
  fixed.writeUInt32BE(record.born);
  fixed.writeUInt16BE(record.signature.length, 4);
  fixed.writeUInt16BE(record.ciphertext.length, 6);
  return Buffer.concat([...begin, fixed, record.signature, record.ciphertext]);
}

function toEntry(seq, { id, born, signature, ciphertext }, body) {
  return {
    seq,
    id: fromKey(id),
    born,
    signature: body.subarray(0, signature),
    ciphertext: body.subarray(signature, signature + ciphertext),
  };
}

/** Turns an error of the system into one that a relay knows. */
function translateError(name, error) {
  if (['ENOSPC', 'EDQUOT', 'EFBIG'].includes(error.code)) return new Full(`no room for ${name}: ${error.message}`);
  if (error instanceof Corrupt) return new Corrupt(`${name} is damaged: ${error.message}`);
  return new StoreError(`${name}: ${error.message}`);
}
