// A store of envelopes and spent tokens, to be replaced by your own: keep the tests,
// change the rest. The contract is in proto/cwtch/relay/plugin/v1/storage.proto.
//
// Everything is appended to one file, the journal, one frame for each batch:
//
//   file    "cwtchNJ1", epoch (16 bytes), frames
//   frame   length of the payload (4 bytes, big-endian), the first 8 bytes of its
//           SHA-256, payload
//   payload items: kind (1 byte), id (32), token (16, unless kind is ENVELOPE), and
//           unless kind is TOKEN: born (4), length of signature (2) and of ciphertext
//           (2), signature, ciphertext
//
// In memory there is where each envelope is, and by what it is found. A batch is one
// frame, flushed to the disk before it is answered and before any reader sees it.

import { createHash, randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { Corrupt, Full, NotFound, StoreError } from './cwtch-plugin.mjs';

const MAGIC = Buffer.from('cwtchNJ1');
const START = MAGIC.length + 16; // of the first frame
const HEADER = 12; // of a frame
const MAX_FRAME = 2 << 20; // more than the largest batch takes

const [ENVELOPE, PAID, TOKEN] = [1, 2, 3];

// Keys of maps are strings with one character for each byte, which sort as the bytes do.
const keyOf = (bytes) => bytes.toString('latin1');
const bytesOf = (key) => Buffer.from(key, 'latin1');
const sha256 = (bytes) => createHash('sha256').update(bytes).digest();
const tokenOf = (nullifier) => keyOf(sha256(nullifier).subarray(0, 16));

export class Store {
  /** What the operator should look at, if anything. */
  trouble = '';

  #path;
  #file;
  #end = START; // of the last whole frame
  #broken; // why the journal cannot be trusted any more
  #turn = Promise.resolve(); // the last write

  #epoch;
  #log = []; // #log[i] is where the envelope with sequence number i+1 is
  #byId = new Map(); // to the sequence number
  #bySignature = new Map(); // from the hash of a signature to the lowest sequence number
  #spent = new Map(); // from a token to the id that it paid for
  #tokens; // the keys of #spent in order, as long as that is known

  /** Opens the journal at a path, or begins one. */
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
      throw explained(name, error);
    }
    return store;
  }

  async #load() {
    const { size } = await this.#file.stat();
    const start = await this.#read(0, START);
    if (start.length < START) {
      // New, or never finished.
      this.#epoch = randomBytes(16);
      await this.#write(0, Buffer.concat([MAGIC, this.#epoch]));
      const dir = await open(path.dirname(this.#path), 'r');
      await dir.sync(); // makes the name durable
      await dir.close();
      return;
    }
    if (!start.subarray(0, MAGIC.length).equals(MAGIC)) {
      throw new StoreError('it is no journal of this plugin, or of another version of it');
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
      // A write that was cut off and never acknowledged; unless others came after it.
      const rest = size - this.#end;
      if (rest > MAX_FRAME || (whole && payload.length === length && rest > HEADER + length)) {
        throw new Corrupt(`the frame at ${this.#end} is damaged; put a copy of the file in its place`);
      }
      if (rest > 0) await this.#cut();
      return;
    }
  }

  info() {
    const last = this.#log.length;
    return { epoch: this.#epoch, first: Math.min(1, last), last, count: last, bytes: this.#end, tokens: this.#spent.size };
  }

  /** Applies records in order, all or none, and returns when that is durable. */
  append(records) {
    return this.#inTurn(async () => {
      const { outcomes, items } = this.#decide(records);
      await this.#commit(items);
      return outcomes;
    });
  }

  /** Returns the entries from a sequence number on, as many as fit, and the last number. */
  async log(from, max, maxBytes) {
    if (this.#broken) throw this.#broken;
    const last = this.#log.length;
    let room = maxBytes;
    const places = [];
    for (let seq = from; seq <= last && places.length < max; seq++) {
      const place = this.#log[seq - 1];
      room -= place.signature + place.ciphertext;
      if (room < 0 && places.length > 0) break;
      places.push(place);
    }
    try {
      const bodies = await this.#bodies(places);
      return { entries: places.map((place, i) => entry(from + i, place, bodies[i])), last };
    } catch (error) {
      throw explained(this.#path, error);
    }
  }

  /** Returns the lowest sequence number of an envelope with the signature. */
  find(signature) {
    const seq = this.#bySignature.get(keyOf(sha256(signature)));
    if (!seq) throw new NotFound('no envelope has this signature');
    return seq;
  }

  /** Returns spent tokens above one, ascending, with the ids of what they paid for. */
  spendings(after, max) {
    this.#tokens ??= [...this.#spent.keys()].sort();
    let [low, high] = [0, this.#tokens.length];
    for (const token = keyOf(after); low < high; ) {
      const middle = (low + high) >> 1;
      if (this.#tokens[middle] > token || after.length === 0) high = middle;
      else low = middle + 1;
    }
    const page = this.#tokens.slice(low, low + max);
    return page.map((token) => ({ token: bytesOf(token), id: bytesOf(this.#spent.get(token)) }));
  }

  /** Records tokens as spent. Of one that is spent, the first spending stays. */
  async spend(spendings) {
    await this.#inTurn(() => {
      const fresh = new Map();
      for (const { token, id } of spendings) {
        if (!this.#spent.has(keyOf(token)) && !fresh.has(keyOf(token))) fresh.set(keyOf(token), id);
      }
      return this.#commit([...fresh].map(([token, id]) => item({ id }, token, true)));
    });
  }

  async close() {
    await this.#turn;
    await this.#file.close();
  }

  /** Lets one write after the other have its turn. */
  #inTurn(work) {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
  }

  /**
   * Says what becomes of each record, and what there is to write. It changes nothing:
   * a record's token is looked at first, its id second, its signature third.
   */
  #decide(records) {
    const [outcomes, items] = [[], []];
    const [added, paid, signed] = [new Map(), new Map(), new Set()]; // by the records before
    for (const record of records) {
      const [id, signature] = [keyOf(record.id), keyOf(sha256(record.signature))];
      const token = record.nullifier.length > 0 ? tokenOf(record.nullifier) : '';
      const seq = this.#byId.get(id) ?? added.get(id);
      const paidFor = token && (this.#spent.get(token) ?? paid.get(token));
      if (paidFor) {
        outcomes.push(paidFor === id && seq ? { status: 'STATUS_REPLAYED', seq } : { status: 'STATUS_SPENT' });
        continue;
      }
      const taken = record.signature.length > 0 && (this.#bySignature.has(signature) || signed.has(signature));
      if (token && !seq && taken) {
        outcomes.push({ status: 'STATUS_CONFLICT' }); // the token stays unspent
        continue;
      }
      if (token) paid.set(token, id);
      if (token || !seq) items.push(item(record, token, Boolean(seq)));
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

  /** Writes items as one frame; when that is durable, readers see them. */
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
      await this.#cut().catch((cause) => {
        this.#broken = new Corrupt(`${this.#path}: a write that failed could not be undone: ${cause.message}`);
      });
      const reason = explained(this.#path, error);
      this.trouble = reason.message;
      throw reason;
    }
    this.trouble = '';
    this.#apply(payload, at);
  }

  /** Takes in the items of a frame whose payload is at an offset of the file. */
  #apply(payload, offset) {
    for (let at = 0; at < payload.length; ) {
      const kind = payload[at];
      const id = keyOf(payload.subarray(at + 1, at + 33));
      at += 33;
      if (kind !== ENVELOPE) {
        this.#spent.set(keyOf(payload.subarray(at, at + 16)), id);
        this.#tokens = undefined;
        at += 16;
      }
      if (kind === TOKEN) continue;
      const [born, signature, ciphertext] = [payload.readUInt32BE(at), payload.readUInt16BE(at + 4), payload.readUInt16BE(at + 6)];
      at += 8;
      const seq = this.#log.push({ id, born, signature, ciphertext, at: offset + at });
      this.#byId.set(id, seq);
      const hash = keyOf(sha256(payload.subarray(at, at + signature)));
      if (!this.#bySignature.has(hash)) this.#bySignature.set(hash, seq);
      at += signature + ciphertext;
    }
  }

  /** Reads signatures and ciphertexts: with one call those that stand close together. */
  async #bodies(places) {
    const bodies = [];
    for (let i = 0; i < places.length; ) {
      const begin = places[i].at;
      let end = begin;
      let next = i;
      for (; next < places.length && places[next].at - end < 128; next++) {
        end = places[next].at + places[next].signature + places[next].ciphertext;
      }
      const run = await this.#read(begin, end - begin);
      if (run.length < end - begin) throw new Corrupt('the file is shorter than it was');
      for (; i < next; i++) bodies.push(run.subarray(places[i].at - begin));
    }
    return bodies;
  }

  /** Reads up to size bytes; fewer are there only at the end of the file. */
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

  /** Writes data at the end of the file and returns when it is durable. */
  async #write(at, data) {
    for (let done = 0; done < data.length; ) {
      const { bytesWritten } = await this.#file.write(data, done, data.length - done, at + done);
      done += bytesWritten;
    }
    await this.#file.datasync();
    this.#end = at + data.length;
  }

  /** Takes away what stands behind the last whole frame. */
  async #cut() {
    await this.#file.truncate(this.#end);
    await this.#file.datasync();
  }
}

/** The bytes of an item: an envelope and its token, or the token alone. */
function item(record, token, alone) {
  const begin = [Buffer.of(alone ? TOKEN : token ? PAID : ENVELOPE), record.id, bytesOf(token)];
  if (alone) return Buffer.concat(begin);
  const fixed = Buffer.alloc(8);
  fixed.writeUInt32BE(record.born);
  fixed.writeUInt16BE(record.signature.length, 4);
  fixed.writeUInt16BE(record.ciphertext.length, 6);
  return Buffer.concat([...begin, fixed, record.signature, record.ciphertext]);
}

function entry(seq, { id, born, signature, ciphertext }, body) {
  return {
    seq,
    id: bytesOf(id),
    born,
    signature: body.subarray(0, signature),
    ciphertext: body.subarray(signature, signature + ciphertext),
  };
}

/** Gives an error of the system the meaning that it has for a relay. */
function explained(name, error) {
  if (['ENOSPC', 'EDQUOT', 'EFBIG'].includes(error.code)) return new Full(`no room for ${name}: ${error.message}`);
  if (error instanceof Corrupt) return new Corrupt(`${name} is damaged: ${error.message}`);
  return new StoreError(`${name}: ${error.message}`);
}
