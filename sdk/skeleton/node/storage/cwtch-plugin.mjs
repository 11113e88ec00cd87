// The part that is the same for all storage plugins: how a relay starts, calls and ends
// them. Do not change this file; replace it with that of a newer cwtch-relay. Your own code
// is in main.mjs and store.mjs.
//
// This file implements docs/plugin-protocol.md of cwtch-relay. The comments in proto/ are
// the contract of each call. Its sections are:
//
//   contract    the limits of a store, and the errors that it throws
//   log         lines for the log of the relay
//   lifecycle   configuring, draining and closing a store that calls may be using
//   services    gRPC services that call the store
//   handshake   what relay and plugin exchange before the first call
//   serve       the main function of the process

import { writeSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import 'reflect-metadata'; // first: x509 needs it
import { Metadata, Server, ServerCredentials, loadPackageDefinition, status } from '@grpc/grpc-js';
import { fromJSON } from '@grpc/proto-loader';
import { decode } from '@msgpack/msgpack';
import * as x509 from '@peculiar/x509';
import wire from './build/wire.json' with { type: 'json' };

const MAX_REQUEST = 16 << 20; // bytes; the default of gRPC is 4 MiB
const SHUTDOWN_GRACE = 5000; // milliseconds for calls under way when the relay is gone
const PROTOCOL = 1;
// The cookie shows that a relay starts the plugin, not a person. It is no secret.
const MAGIC_COOKIE = 'b3c1f0b1-6d0f-4c6a-9a0e-5f6f0a5a7f3e';

const options = { keepCase: true, longs: Number, defaults: true };
const { Plugin, Storage } = loadPackageDefinition(fromJSON(wire, options)).cwtch.relay.plugin.v1;

// ---- contract ----

// The limits of storage.proto. They are checked here before the store is called.
const MAX_BATCH = 256; // records in one append
const MAX_BATCH_BYTES = 1 << 20; // of their signatures and ciphertexts
const MAX_ENVELOPE = 16 << 10; // signature and ciphertext of one record
const MAX_PAGE = 1024; // entries in one page of the log
const PAGE_BYTES = 256 << 10; // of their signatures and ciphertexts
const MAX_SPENT_TOKENS = 1024; // in one page and in one spend
const MAX_HOURS = 1024; // in one answer of hours
const MAX_PRUNE = 4096; // envelopes that one prune removes
const MAX_KEYS = 4096; // in one page of keys
const MAX_GET = 256; // ids in one get
export const MAX_AGING = 24; // hours by which the hour of an envelope is lowered
const MAX_COMPACT = 64 << 20; // bytes that one compact moves
const MIN_COMPACT = 64 << 10; // bytes that every compact may move
const MAX_FAULTS = 256; // in one part of a check
const MAX_CHECK_STATE = 64; // bytes of where the next part begins
const MAX_FAULT_TEXT = 256; // bytes of each text of a fault

/** An error whose text the operator sees: say what is wrong, where, and what to do. */
export class StoreError extends Error {
  code = status.UNKNOWN;
}
/** No envelope has the signature. */
export class NotFound extends StoreError {
  code = status.NOT_FOUND;
}
/** A batch, a record or a request exceeds the limits. Nothing was changed. */
export class TooLarge extends StoreError {
  code = status.OUT_OF_RANGE;
}
/** There is no room. Nothing was stored. Reads still work. */
export class Full extends StoreError {
  code = status.FAILED_PRECONDITION;
}
/** The store contradicts itself. The relay stops using it. */
export class Corrupt extends StoreError {
  code = status.DATA_LOSS;
}
/** The store cannot be used now, but may be later. */
export class Unavailable extends StoreError {
  code = status.UNAVAILABLE;
}
class TimedOut extends StoreError {
  code = status.DEADLINE_EXCEEDED;
}
class Malformed extends StoreError {
  code = status.INVALID_ARGUMENT; // no relay sends this
}

// ---- log ----

const LEVELS = ['debug', 'info', 'warn', 'error'];
const lowest = Math.max(0, LEVELS.indexOf((process.env.CWTCH_RELAY_PLUGIN_LOG_LEVEL ?? 'info').toLowerCase()));

function write(level, message, fields) {
  if (LEVELS.indexOf(level) >= lowest) {
    process.stderr.write(`${JSON.stringify({ '@level': level, '@message': message, ...fields })}\n`);
  }
}

/** Writes lines to the log of the relay. Never log an id, signature, ciphertext or token. */
export const log = Object.fromEntries(LEVELS.map((level) => [level, (message, fields) => write(level, message, fields)]));

// ---- lifecycle ----

/**
 * Holds the open store, if there is one, and counts the calls that use it. Deadlines are in
 * milliseconds since 1970. After shutdown nothing can be configured, unless the lifecycle is
 * reusable, as under a debugger.
 */
class Lifecycle {
  #reusable;
  #store = null;
  #configuration = ''; // with which the store was opened
  #refusal = 'not configured'; // why no call may begin; empty while calls may
  #failed = false;
  #draining = false;
  #calls = 0;
  #idleWaiters = []; // resolve functions of those who wait until no call is under way
  #lastChange = Promise.resolve(); // resolves when the last opening or closing is done

  constructor(reusable = false) {
    this.#reusable = reusable;
  }

  /** Provides the store to one call. */
  async use(call) {
    if (this.#refusal) throw new Unavailable(this.#refusal);
    this.#calls++;
    try {
      return await call(this.#store);
    } finally {
      this.#calls--;
      if (this.#calls === 0) this.#idleWaiters.splice(0).forEach((wake) => wake());
    }
  }

  /** Closes the open store and opens another one. The same configuration changes nothing. */
  configure(configuration, open, deadline) {
    return this.#serialize(async () => {
      if (this.#draining) throw new Unavailable('draining');
      if (this.#store && this.#configuration === configuration) return;
      await this.#closeStore('being configured', deadline);
      try {
        this.#store = await open();
      } catch (error) {
        [this.#refusal, this.#failed] = ['the last configuration could not be used', true];
        throw error;
      }
      [this.#configuration, this.#failed] = [configuration, false];
      this.#refusal = this.#draining ? 'draining' : '';
    });
  }

  /** Refuses new calls and waits for those under way. */
  drain(deadline) {
    this.#draining = true;
    this.#refusal = 'draining';
    return this.#whenIdle(deadline);
  }

  /** Drains and closes the store. */
  async shutdown(deadline) {
    await this.drain(deadline);
    await this.#serialize(() => this.#closeStore('closed', deadline));
    if (this.#reusable) [this.#refusal, this.#draining] = ['not configured', false];
  }

  health() {
    if (this.#failed) return { status: 'STATUS_FAILED', reason: this.#refusal };
    const reason = this.#store ? (this.#store.degraded ?? '') : this.#refusal;
    return { status: reason ? 'STATUS_DEGRADED' : 'STATUS_READY', reason };
  }

  #serialize(work) {
    const done = this.#lastChange.then(work);
    this.#lastChange = done.catch(() => {});
    return done;
  }

  async #closeStore(refusal, deadline) {
    const before = this.#refusal;
    this.#refusal = refusal;
    try {
      await this.#whenIdle(deadline);
    } catch (error) {
      this.#refusal = before;
      throw error;
    }
    const store = this.#store;
    this.#store = null;
    await store?.close();
  }

  async #whenIdle(deadline) {
    if (this.#calls === 0) return;
    let timer;
    const late = new Promise((_, reject) => {
      const wait = Math.min(deadline - Date.now(), 2 ** 31 - 1);
      timer = setTimeout(() => reject(new TimedOut(`${this.#calls} calls are under way`)), wait);
    });
    try {
      await Promise.race([new Promise((resolve) => this.#idleWaiters.push(resolve)), late]);
    } finally {
      clearTimeout(timer);
    }
  }
}

// ---- services ----

/** Turns a function from request to answer into a gRPC handler. */
function withErrorCodes(name, method) {
  return async (call, callback) => {
    try {
      callback(null, await method(call.request, Number(call.getDeadline())));
    } catch (error) {
      if (!(error instanceof StoreError)) log.error(`${name} failed`, { error: String(error), stack: error?.stack });
      const known = error instanceof StoreError;
      const details = known ? error.message : `${error?.name ?? 'error'} in ${name}`;
      callback({ code: known ? error.code : status.INTERNAL, details, metadata: new Metadata() });
    }
  };
}

function makeHandlers(methods) {
  return Object.fromEntries(Object.entries(methods).map(([name, method]) => [name, withErrorCodes(name, method)]));
}

function requireSize(size, value, what) {
  if (value.length !== size) throw new Malformed(`${what} of ${value.length} bytes`);
  return value;
}

function requireAtMost(limit, value, what) {
  if (value > limit) throw new TooLarge(`${value} ${what}, limit ${limit}`);
  return value;
}

function checkBatch(records) {
  requireAtMost(MAX_BATCH, records.length, 'records');
  let total = 0;
  for (const { id, nullifier, signature, ciphertext } of records) {
    requireSize(32, id, 'id');
    if (nullifier.length > 0) requireSize(32, nullifier, 'nullifier');
    total += requireAtMost(MAX_ENVELOPE, signature.length + ciphertext.length, 'bytes of a record');
  }
  requireAtMost(MAX_BATCH_BYTES, total, 'bytes of a batch');
}

// Checks of the JavaScript type of each attribute type.
const hasType = {
  TYPE_STRING: (value) => typeof value === 'string',
  TYPE_INT: Number.isInteger,
  TYPE_BOOL: (value) => typeof value === 'boolean',
  TYPE_DURATION: Number.isInteger, // nanoseconds
  TYPE_BYTES: Number.isInteger,
  TYPE_STRING_LIST: Array.isArray,
};

/** Decodes a configuration. The relay has checked it against the schema and filled in the defaults. */
function decodeConfig(bytes, attributes) {
  let values;
  try {
    values = decode(bytes);
  } catch (error) {
    throw new Malformed(`configuration: ${error.message}`);
  }
  const names = attributes.map((a) => a.name);
  const given = values?.constructor === Object ? Object.keys(values) : undefined;
  if (given?.length !== names.length || !names.every((name) => given.includes(name))) {
    throw new Malformed('configuration: not the attributes of the schema');
  }
  for (const { name, type, required, default: preset } of attributes) {
    const missing = values[name] === null && !required && !preset;
    if (!missing && !hasType[type](values[name])) throw new Malformed(`configuration: ${name} is a ${typeof values[name]}`);
  }
  return values;
}

/** The calls of every kind of plugin. */
function pluginService(plugin, lifecycle) {
  const { name, version, doc, attributes } = plugin;
  const capabilities = Object.entries({ spend: 'LEDGER', prune: 'PRUNE', keys: 'INDEX' })
    .filter(([method]) => plugin.Store.prototype[method])
    .map(([, capability]) => `CAPABILITY_STORAGE_${capability}`);
  return makeHandlers({
    Describe: () => ({ kind: 'storage', name, version, doc, schema: { attributes }, capabilities, protocols: [PROTOCOL] }),
    Validate: ({ config }) => ({ diagnostics: plugin.validate(decodeConfig(config, attributes)) }),
    Configure: async ({ config, dir, inspect }, deadline) => {
      if (inspect) throw new StoreError('this plugin cannot open its store for inspection');
      const values = decodeConfig(config, attributes);
      if (!path.isAbsolute(dir)) throw new Malformed(`the directory ${dir} is not absolute`);
      const diagnostics = plugin.validate(values);
      if (diagnostics.length > 0) return { diagnostics };
      await lifecycle.configure(`${config.toString('base64')} ${dir}`, () => plugin.open(values, dir), deadline);
      return { capabilities };
    },
    Health: () => lifecycle.health(),
    Drain: async (_, deadline) => {
      await lifecycle.drain(deadline);
      return {};
    },
    Shutdown: async (_, deadline) => {
      await lifecycle.shutdown(deadline);
      return {};
    },
  });
}

/**
 * The calls to a store. It has the methods
 *
 *   info()                              { epoch, first, last, count, bytes, tokens, floor }
 *   append(records)                     an outcome for each: { status, seq }
 *   log(from, max, maxBytes)            { entries, last }
 *   find(signature)                     the lowest sequence number
 *   spendings(after, max), spend(list)  both or neither: it is a ledger
 *   hours(from, max), prune(floor, max) both or neither: it is a pruner
 *   keys(low, high, max), get(ids, maxBytes)  both or neither: it is an index; a key is { born, id }
 *   close()
 *
 * and may have a text for the operator, degraded. Watch is left out: nothing else appends to a
 * store in the plugin's own directory.
 */
function storageService(plugin, lifecycle) {
  const methods = {
    Info: () => lifecycle.use((store) => store.info()),
    Append: ({ records }) => {
      checkBatch(records);
      return lifecycle.use(async (store) => ({ outcomes: await store.append(records) }));
    },
    Log: ({ from, max, max_bytes }) => {
      const entries = requireAtMost(MAX_PAGE, max, 'entries of a page') || MAX_PAGE;
      const bytes = requireAtMost(PAGE_BYTES, max_bytes, 'bytes of a page') || PAGE_BYTES;
      return lifecycle.use((store) => store.log(Math.max(1, from), entries, bytes));
    },
    Find: ({ signature }) => {
      requireAtMost(MAX_ENVELOPE, signature.length, 'bytes of a signature');
      return lifecycle.use(async (store) => ({ seq: await store.find(signature) }));
    },
  };
  const optional = { spend: ledgerMethods, prune: prunerMethods, keys: indexMethods };
  for (const [method, add] of Object.entries(optional)) {
    if (plugin.Store.prototype[method]) Object.assign(methods, add(lifecycle));
  }
  return makeHandlers(methods);
}

function ledgerMethods(lifecycle) {
  return {
    Spendings: ({ after, max }) => {
      if (after.length > 0) requireSize(16, after, 'token');
      const most = requireAtMost(MAX_SPENT_TOKENS, max, 'spendings of a page') || MAX_SPENT_TOKENS;
      return lifecycle.use(async (store) => ({ spendings: await store.spendings(after, most) }));
    },
    Spend: async ({ spendings }) => {
      requireAtMost(MAX_SPENT_TOKENS, spendings.length, 'spendings');
      for (const { token, id } of spendings) {
        requireSize(16, token, 'token');
        requireSize(32, id, 'id');
      }
      await lifecycle.use((store) => store.spend(spendings));
      return {};
    },
  };
}

function prunerMethods(lifecycle) {
  return {
    Hours: ({ from, max }) => {
      const most = requireAtMost(MAX_HOURS, max, 'hours') || MAX_HOURS;
      return lifecycle.use(async (store) => ({ hours: await store.hours(from, most) }));
    },
    Prune: ({ floor, max }) => {
      const most = requireAtMost(MAX_PRUNE, max, 'envelopes to remove') || MAX_PRUNE;
      return lifecycle.use((store) => store.prune(floor, most));
    },
  };
}

const KEY_SIZE = 36; // bytes: an hour and an id

const decodeKey = (key) => ({ born: key.readUInt32BE(), id: key.subarray(4) });

function encodeKey({ born, id }) {
  const hour = Buffer.alloc(4);
  hour.writeUInt32BE(born);
  return Buffer.concat([hour, id]);
}

function indexMethods(lifecycle) {
  return {
    Keys: ({ range, max }) => {
      requireSize(2 * KEY_SIZE, range, 'range');
      const [low, end] = [decodeKey(range.subarray(0, KEY_SIZE)), range.subarray(KEY_SIZE)];
      const high = end.some((byte) => byte > 0) ? decodeKey(end) : undefined;
      const most = requireAtMost(MAX_KEYS, max, 'keys of a page') || MAX_KEYS;
      return lifecycle.use(async (store) => ({ keys: Buffer.concat((await store.keys(low, high, most)).map(encodeKey)) }));
    },
    Get: ({ ids }) => {
      if (ids.length % 32 !== 0) throw new Malformed(`ids of ${ids.length} bytes`);
      requireAtMost(MAX_GET, ids.length / 32, 'ids');
      const wanted = Array.from({ length: ids.length / 32 }, (_, i) => ids.subarray(32 * i, 32 * i + 32));
      return lifecycle.use(async (store) => ({ entries: await store.get(wanted, PAGE_BYTES) }));
    },
  };
}

function newServer(plugin, lifecycle) {
  const server = new Server({ 'grpc.max_receive_message_length': MAX_REQUEST, 'grpc.max_send_message_length': -1 });
  server.addService(Plugin.service, pluginService(plugin, lifecycle));
  server.addService(Storage.service, storageService(plugin, lifecycle));
  return server;
}

function listen(server, socket, credentials) {
  return new Promise((resolve, reject) => {
    server.bindAsync(`unix:${socket}`, credentials, (error) => (error ? reject(error) : resolve()));
  });
}

// ---- handshake ----

/**
 * Makes a key and a certificate for "localhost", the name by which the relay calls
 * every plugin. It has to be among the alternative names; a common name does not count.
 */
async function newIdentity() {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const now = Date.now();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=localhost',
    notBefore: new Date(now - 3600e3),
    notAfter: new Date(now + 3650 * 86400e3),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: 'localhost' }]),
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
    ],
  });
  const key = x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY');
  return { key: Buffer.from(key), certificate: Buffer.from(certificate.toString('pem')), der: Buffer.from(certificate.rawData) };
}

/** Reads what the relay has put in the environment; nothing when no relay has started this. */
function readEnvironment(env) {
  if (env.CWTCH_RELAY_PLUGIN !== MAGIC_COOKIE) return undefined;
  const versions = (env.PLUGIN_PROTOCOL_VERSIONS ?? '').split(',');
  if (!versions.includes(String(PROTOCOL))) throw new Error(`the relay speaks the protocols ${versions}, this plugin ${PROTOCOL}`);
  for (const name of ['PLUGIN_UNIX_SOCKET_DIR', 'PLUGIN_CLIENT_CERT', 'CWTCH_RELAY_PLUGIN_LIFELINE']) {
    if (!env[name]) throw new Error(`the environment lacks ${name}`);
  }
  return {
    socket: path.join(env.PLUGIN_UNIX_SOCKET_DIR, 'plugin.sock'),
    client: Buffer.from(env.PLUGIN_CLIENT_CERT),
    lifeline: Number(env.CWTCH_RELAY_PLUGIN_LIFELINE),
  };
}

// ---- serve ----

/**
 * Serves a plugin until the relay is done with it or gone:
 *
 *   name, version, doc         see proto/…/plugin.proto
 *   attributes                 the attributes of the schema
 *   validate(config)           returns faults as [{ summary, detail, path }]
 *   open(config, dir)          returns an open store
 *   Store                      the class of the store, see storageService
 */
export async function serve(plugin) {
  process.umask(0o077);
  process.title = `cwtch-${plugin.name}`; // ps shows 15 bytes
  try {
    const environment = readEnvironment(process.env);
    if (environment) await serveRelay(plugin, environment);
    else if (process.argv[2] === 'debug') await serveDebugger(plugin);
    else explainStart(plugin);
  } catch (error) {
    log.error('the plugin failed', { error: String(error), stack: error?.stack });
    process.exit(1);
  }
}

async function serveRelay(plugin, { socket, client, lifeline }) {
  // These signals are meant for the relay, which ends the plugin in order.
  process.on('SIGTERM', () => {});
  process.on('SIGINT', () => {});

  const lifecycle = new Lifecycle();
  const identity = await newIdentity();
  const pair = { private_key: identity.key, cert_chain: identity.certificate };
  await listen(newServer(plugin, lifecycle), socket, ServerCredentials.createSsl(client, [pair], true));

  const certificate = identity.der.toString('base64').replace(/=+$/, '');
  writeSync(1, `1|${PROTOCOL}|unix|${socket}|grpc|${certificate}\n`);
  // Nothing else may be printed. What a library prints becomes a log line.
  process.stdout.write = process.stderr.write.bind(process.stderr);

  // Nothing is ever written to the lifeline. It ends when the relay is done or gone.
  await new Promise((resolve) => {
    new Socket({ fd: lifeline, readable: true, writable: false }).on('error', resolve).on('close', resolve).resume();
  });
  await lifecycle.shutdown(Date.now() + SHUTDOWN_GRACE);
  process.exit(0);
}

/** Serves relays that attach to this process, until ^C, without handshake, TLS and lifeline. */
async function serveDebugger(plugin) {
  const dir = await mkdtemp(path.join(tmpdir(), 'cwtch-plugin-')); // only this user can enter it
  const socket = path.join(dir, 'plugin.sock');
  const lifecycle = new Lifecycle(true);
  await listen(newServer(plugin, lifecycle), socket, ServerCredentials.createInsecure());
  const attach = { [`storage/${plugin.name}`]: { pid: process.pid, socket, protocol: PROTOCOL } };
  console.log(`CWTCH_REATTACH_PLUGINS='${JSON.stringify(attach)}'`);
  await new Promise((resolve) => process.on('SIGINT', resolve).on('SIGTERM', resolve));
  await lifecycle.shutdown(Date.now() + SHUTDOWN_GRACE);
  await rm(dir, { recursive: true });
  process.exit(0);
}

function explainStart({ name, version }) {
  console.error(
    `error: this is the storage plugin "${name}" of cwtch-relay, version ${version}, which a relay starts by itself\n` +
      'hint: name it in the configuration of the relay, or run it with "debug" to have a relay attach to it',
  );
  process.exit(1);
}
