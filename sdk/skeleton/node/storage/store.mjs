// A store of envelopes and spent tokens. Replace it by your own: keep the tests and change
// the rest. The contract is in proto/cwtch/relay/plugin/v1/storage.proto.
//
// Each batch is appended to one file, the journal, as one frame:
//
//   file    "cwtchNJ1", epoch (16 bytes), frames
//   frame   length of the payload (4 bytes, big-endian), the first 8 bytes of its
//           SHA-256, payload
//   payload items: kind (1 byte), id (32), and then by kind
//
//     ENVELOPE  body: born (4), length of signature (2) and of ciphertext (2), signature,
//               ciphertext
//     PAID      token (16), body
//     TOKEN     token
//     LOWER     born: the envelope is in the log already and gets this lower one
//     FLOOR     floor (4); the id is zeros
//
//   and in a journal that was written anew
//
//     KEPT      sequence number (6), the born that it was stored with (4), whether find
//               returns it for its signature (1), body
//     LAST      the last sequence number; the id is zeros
//
// Memory holds the location of each envelope and the indexes to find it. A batch is flushed
// to the disk before it is answered and before any reader sees it. What was pruned leaves the
// disk when the store is opened the next time: it then writes the journal anew.

import { createHash, randomBytes } from 'node:crypto';
import { open, rename } from 'node:fs/promises';
import path from 'node:path';
import { Corrupt, Full, MAX_AGING, NotFound, StoreError } from './cwtch-plugin.mjs';

const MAGIC = Buffer.from('cwtchNJ1');
const START = MAGIC.length + 16; // offset of the first frame
const HEADER = 12; // size of the header of a frame
const MAX_FRAME = 2 << 20; // larger than any batch

const [ENVELOPE, PAID, TOKEN, LOWER, FLOOR, KEPT, LAST] = [1, 2, 3, 4, 5, 6, 7];
const NO_ID = Buffer.alloc(32);

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
  #log = []; // #log[i] is the location of the envelope with sequence number i+1; undefined once it was removed
  #byId = new Map(); // id to sequence number
  #bySignature = new Map(); // hash of a signature to its lowest sequence number
  #spent = new Map(); // token to the id of its envelope
  #tokens; // the keys of #spent in order, or undefined
  #floor = 0; // what was born before it is not in the log
  #hours = new Map(); // hour to the sequence numbers of all that was born in it and not removed
  #lowest = 1; // no envelope below it is in the log

  /** Opens the journal at a path, or begins a new one. */
  static async open(name) {
    const store = await Store.#openJournal(name);
    if (!store.#hasPruned()) return store;
    // If there is no room for the new journal, the old one serves as well.
    await store.#rewriteJournal().catch((error) => (store.degraded = translateError(name, error).message));
    if (store.degraded) return store;
    await store.close();
    return Store.#openJournal(name);
  }

  static async #openJournal(name) {
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
    let count = 0;
    for (const [at, hour] of this.#hours) if (at >= this.#floor) count += hour.seqs.length;
    while (count > 0 && !this.#inLog(this.#lowest)) this.#lowest++;
    return {
      epoch: this.#epoch,
      first: count > 0 ? this.#lowest : 0,
      last: this.#log.length,
      count,
      bytes: this.#end,
      tokens: this.#spent.size,
      floor: this.#floor,
    };
  }

  /**
   * Returns the location of a sequence number that is in the log. Envelopes below the floor
   * leave the log at one moment, whether they have been removed yet or not.
   */
  #inLog(seq) {
    const location = seq && this.#log[seq - 1];
    return location && location.born >= this.#floor ? location : undefined;
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
    for (let seq = Math.max(from, this.#lowest); seq <= last && locations.length < max; seq++) {
      const location = this.#inLog(seq);
      if (!location) continue;
      room -= location.signature + location.ciphertext;
      if (room < 0 && locations.length > 0) break;
      locations.push(location);
    }
    try {
      const bodies = await this.#readBodies(locations);
      return { entries: locations.map((location, i) => toEntry(location, bodies[i])), last };
    } catch (error) {
      throw translateError(this.#path, error);
    }
  }

  /** Returns the lowest sequence number of an envelope with the signature. */
  find(signature) {
    const seq = this.#bySignature.get(toKey(sha256(signature)));
    if (!this.#inLog(seq)) throw new NotFound('no envelope has this signature');
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

  /** Returns what there is of each hour. The relay decides from it what to prune. */
  hours(from, max) {
    const kept = [...this.#hours.keys()].filter((at) => at >= Math.max(from, this.#floor)).sort((a, b) => a - b);
    return kept.slice(0, max).map((at) => ({ hour: at, count: this.#hours.get(at).seqs.length, bytes: this.#hours.get(at).bytes }));
  }

  /** Raises the floor, which hides everything below it at once, and removes at most max envelopes. */
  prune(floor, max) {
    return this.#serialize(async () => {
      if (floor > this.#floor) await this.#commit([encodeNumber(FLOOR, NO_ID, floor)]);
      return this.#removePruned(max);
    });
  }

  #removePruned(max) {
    const pruned = { floor: this.#floor, envelopes: 0, bytes: 0, more: false };
    for (const [at, hour] of this.#hours) {
      while (at < this.#floor && hour.seqs.length > 0) {
        if (pruned.envelopes === max) return { ...pruned, more: true };
        const location = this.#log[hour.seqs.at(-1) - 1];
        this.#removeFromHour(location);
        this.#log[location.seq - 1] = undefined; // the number is not used again
        if (this.#byId.get(location.id) === location.seq) this.#byId.delete(location.id);
        // Even if later envelopes have the signature.
        if (this.#bySignature.get(location.hash) === location.seq) this.#bySignature.delete(location.hash);
        pruned.envelopes++;
        pruned.bytes += sizeOf(location);
      }
    }
    return pruned;
  }

  #hasPruned() {
    for (const at of this.#hours.keys()) if (at < this.#floor) return true;
    return false;
  }

  /** Returns the keys from low on and below high, in their order. Without high there is no end. */
  keys(low, high, max) {
    const begin = [low.born, toKey(low.id)];
    const end = high && [high.born, toKey(high.id)];
    const keys = [];
    for (const at of [...this.#hours.keys()].filter((at) => at >= Math.max(low.born, this.#floor)).sort((a, b) => a - b)) {
      const seqs = this.#sortedHour(at);
      let [first, last] = [0, seqs.length];
      while (first < last) {
        const middle = (first + last) >> 1;
        if (isBefore([at, this.#log[seqs[middle] - 1].id], begin)) first = middle + 1;
        else last = middle;
      }
      for (const seq of seqs.slice(first, first + max - keys.length)) {
        const { id } = this.#log[seq - 1];
        if (end && !isBefore([at, id], end)) return keys;
        keys.push({ born: at, id: fromKey(id) });
      }
      if (keys.length === max) return keys;
    }
    return keys;
  }

  #sortedHour(at) {
    const hour = this.#hours.get(at);
    if (!hour.sorted) {
      hour.seqs.sort((a, b) => (this.#log[a - 1].id < this.#log[b - 1].id ? -1 : 1));
      hour.sorted = true;
    }
    return hour.seqs;
  }

  /** Returns the entries with the ids that are in the log, in the order of ids. */
  async get(ids, maxBytes) {
    if (this.#broken) throw this.#broken;
    let room = maxBytes;
    const locations = [];
    for (const id of ids) {
      const location = this.#inLog(this.#byId.get(toKey(id)));
      if (!location) continue;
      room -= sizeOf(location);
      if (room < 0 && locations.length > 0) break;
      locations.push(location);
    }
    try {
      const entries = [];
      for (const location of locations) entries.push(toEntry(location, (await this.#readBodies([location]))[0]));
      return entries;
    } catch (error) {
      throw translateError(this.#path, error);
    }
  }

  /** Writes the journal anew, without what was pruned. The old one stays until the new one is durable. */
  async #rewriteJournal() {
    this.#removePruned(Infinity);
    const name = `${this.#path}.new`;
    const file = await open(name, 'w', 0o600);
    try {
      await file.writeFile(Buffer.concat([MAGIC, this.#epoch]));
      let [items, size] = [[], 0];
      const put = async (item) => {
        if (size + item.length > MAX_FRAME) {
          await file.appendFile(encodeFrame(Buffer.concat(items)));
          [items, size] = [[], 0];
        }
        items.push(item);
        size += item.length;
      };
      await put(encodeNumber(FLOOR, NO_ID, this.#floor));
      for (const location of this.#log) {
        if (location) await put(encodeKept(location, this.#bySignature, (await this.#readBodies([location]))[0]));
      }
      for (const [token, id] of this.#spent) await put(encodeItem({ id: fromKey(id) }, token, true));
      await put(encodeNumber(LAST, NO_ID, this.#log.length));
      await file.appendFile(encodeFrame(Buffer.concat(items)));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(name, this.#path);
    const dir = await open(path.dirname(this.#path), 'r');
    await dir.sync();
    await dir.close();
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
   * the token of a record first, then the hour, the id and the signature.
   */
  #decide(records) {
    const [outcomes, items] = [[], []];
    const [added, paid, signed] = [new Map(), new Map(), new Set()]; // by earlier records of the batch
    for (const record of records) {
      const [id, signature] = [toKey(record.id), toKey(sha256(record.signature))];
      const token = record.nullifier.length > 0 ? tokenKey(record.nullifier) : '';
      const location = this.#inLog(this.#byId.get(id));
      const seq = location?.seq ?? added.get(id);
      const paidFor = token && (this.#spent.get(token) ?? paid.get(token));
      if (paidFor) {
        outcomes.push(paidFor === id && seq ? { status: 'STATUS_REPLAYED', seq } : { status: 'STATUS_SPENT' });
        continue;
      }
      if (record.born < this.#floor) {
        outcomes.push({ status: 'STATUS_EXPIRED' }); // the token is not spent
        continue;
      }
      const taken = record.signature.length > 0 && (this.#inLog(this.#bySignature.get(signature)) || signed.has(signature));
      if (token && !seq && taken) {
        outcomes.push({ status: 'STATUS_CONFLICT' }); // the token is not spent
        continue;
      }
      if (token) paid.set(token, id);
      if (token || !seq) items.push(encodeItem(record, token, Boolean(seq)));
      if (seq) {
        if (!(record.born >= location?.born)) items.push(encodeNumber(LOWER, record.id, record.born));
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
    const at = this.#end + HEADER;
    try {
      await this.#write(this.#end, encodeFrame(payload));
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
      if (kind === LOWER || kind === FLOOR || kind === LAST) {
        this.#applyNumber(kind, id, payload.readUInt32BE(at));
        at += 4;
        continue;
      }
      if (kind === PAID || kind === TOKEN) {
        this.#spent.set(toKey(payload.subarray(at, at + 16)), id);
        this.#tokens = undefined;
        at += 16;
      }
      if (kind === TOKEN) continue;
      const kept = kind === KEPT ? { seq: payload.readUIntBE(at, 6), stored: payload.readUInt32BE(at + 6), found: payload[at + 10] } : {};
      if (kind === KEPT) at += 11;
      const [born, signature, ciphertext] = [payload.readUInt32BE(at), payload.readUInt16BE(at + 4), payload.readUInt16BE(at + 6)];
      at += 8;
      const seq = kept.seq ?? this.#log.length + 1;
      const hash = toKey(sha256(payload.subarray(at, at + signature)));
      const location = { seq, id, born, stored: kept.stored ?? born, signature, ciphertext, hash, at: offset + at };
      while (this.#log.length < seq) this.#log.push(undefined);
      this.#log[seq - 1] = location;
      this.#byId.set(id, seq);
      if (kept.found ?? !this.#inLog(this.#bySignature.get(hash))) this.#bySignature.set(hash, seq);
      this.#addToHour(location);
      at += signature + ciphertext;
    }
  }

  #applyNumber(kind, id, number) {
    if (kind === FLOOR) this.#floor = Math.max(this.#floor, number);
    if (kind === LAST) while (this.#log.length < number) this.#log.push(undefined);
    if (kind === LOWER) this.#lowerBorn(this.#inLog(this.#byId.get(id)), number);
  }

  /**
   * Keeps the lower hour when two relays have accepted one envelope in different hours, so
   * that they agree on its key in the end.
   */
  #lowerBorn(location, other) {
    const born = Math.max(Math.min(location.born, other), location.stored - Math.min(location.stored, MAX_AGING));
    if (born === location.born) return;
    this.#removeFromHour(location);
    location.born = born;
    this.#addToHour(location);
  }

  #addToHour(location) {
    const hour = this.#hours.get(location.born) ?? { seqs: [], bytes: 0 };
    this.#hours.set(location.born, hour);
    hour.seqs.push(location.seq);
    hour.sorted = false; // by id
    hour.bytes += sizeOf(location);
  }

  #removeFromHour(location) {
    const hour = this.#hours.get(location.born);
    hour.seqs.splice(hour.seqs.lastIndexOf(location.seq), 1);
    hour.bytes -= sizeOf(location);
    if (hour.seqs.length === 0) this.#hours.delete(location.born);
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

/** Encodes an item that has only a number. */
function encodeNumber(kind, id, number) {
  const item = Buffer.concat([Buffer.of(kind), id, Buffer.alloc(4)]);
  item.writeUInt32BE(number, 33);
  return item;
}

/** Encodes an envelope for a journal that is written anew. */
function encodeKept(location, bySignature, body) {
  const fixed = Buffer.alloc(19);
  fixed.writeUIntBE(location.seq, 0, 6);
  fixed.writeUInt32BE(location.stored, 6);
  fixed[10] = bySignature.get(location.hash) === location.seq ? 1 : 0;
  fixed.writeUInt32BE(location.born, 11);
  fixed.writeUInt16BE(location.signature, 15);
  fixed.writeUInt16BE(location.ciphertext, 17);
  return Buffer.concat([Buffer.of(KEPT), fromKey(location.id), fixed, body.subarray(0, sizeOf(location))]);
}

function encodeFrame(payload) {
  const header = Buffer.alloc(HEADER);
  header.writeUInt32BE(payload.length);
  sha256(payload).copy(header, 4, 0, 8);
  return Buffer.concat([header, payload]);
}

const sizeOf = (location) => location.signature + location.ciphertext;
const isBefore = ([born, id], [otherBorn, otherId]) => born < otherBorn || (born === otherBorn && id < otherId);

function toEntry({ seq, id, born, signature, ciphertext }, body) {
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
