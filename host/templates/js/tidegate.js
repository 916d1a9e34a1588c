// What a Tidegate plugin in JavaScript is made with: it hides the words and bytes of the contract. Nothing in it is yours to
// change; `tidegate plugin new` brings the one that fits its gateway.
//
// Bytes become text by way of strings with a character a byte ("latin"): the engine has no TextDecoder, and base64 is native code.

import { log } from "tidegate:plugin/log@0.1.0";
import { counter, gauge } from "tidegate:plugin/metrics@0.1.0";
import { runningUs } from "tidegate:plugin/clock@0.1.0";
import * as ownFlow from "tidegate:plugin/flow@0.1.0";

const PASS = 0, EMIT = 1, ABSORB = 2, REJECT = 3;
const NO_INPUT = 0xffffffff, GONE = 0xffffffff;
const STRIDE = 8;
const RETAIN = 1, DUPLICATE = 2, REPLAYED = 4, CLOCK_UNSET = 8, EXCUSED = 64;
const PAGE_BYTES = 65536;
const ONE_LANE = 0x80000000;

const NOT_ASCII = /[^\x00-\x7f]/;
const latinOf = (bytes) => atob(bytes.toBase64());
const bytesOf = (latin) => Uint8Array.fromBase64(btoa(latin));
const encode = (text) => (NOT_ASCII.test(text) ? unescape(encodeURIComponent(text)) : text);
const decode = (latin) => (NOT_ASCII.test(latin) ? decodeURIComponent(escape(latin)) : latin);
const latinBody = (payload) => (typeof payload === "string" ? encode(payload) : latinOf(payload));
const withLength = (latin) => String.fromCharCode(latin.length & 255, latin.length >> 8) + latin;

/** Thrown by a rule: the message goes to the dead letters in these words. */
export class Reject extends Error {}
/** The payload lacks a value: rejected, and not held against the device. */
export class Missing extends Reject {}
class Empty extends Reject {}

export const host = {
  error: (text) => log("error", String(text)),
  warn: (text) => log("warn", String(text)),
  info: (text) => log("info", String(text)),
  debug: (text) => log("debug", String(text)),
  counter: (name, add = 1) => counter(name, add),
  gauge: (name, value) => gauge(name, value),
  runningUs: () => Number(runningUs()),
  flow: () => ({ name: ownFlow.name(), topics: ownFlow.topics(), key: ownFlow.key() ?? null }),
};

/** A message. Its parts are read when they are asked for; it is good until `process` returns. */
export class Message {
  constructor(arena, at, words, w, key) {
    this.arena = arena;
    this.at = at;
    this.words = words;
    this.w = w;
    this.ownKey = key;
  }
  get topic() {
    return decode(this.arena.substr(this.at, this.words[this.w]));
  }
  get key() {
    if (this.ownKey !== "") return decode(this.ownKey);
    const span = this.words[this.w + 3];
    return decode(this.arena.substr(this.at + (span & 0xffff), span >>> 16));
  }
  get latin() {
    const { words, w } = this;
    return this.arena.substr(this.at + words[w] + words[w + 1], words[w + 2]);
  }
  get payload() {
    return bytesOf(this.latin);
  }
  get headerBlock() {
    return this.arena.substr(this.at + this.words[this.w], this.words[this.w + 1]);
  }
  get headers() {
    const block = this.headerBlock, found = {};
    let at = 0;
    const next = () => {
      const length = block.charCodeAt(at) | (block.charCodeAt(at + 1) << 8);
      at += 2 + length;
      return block.substr(at - length, length);
    };
    const readable = (latin) => { try { return decode(latin); } catch { return latin; } };
    while (at < block.length) {
      const name = readable(next());
      found[name] = readable(next());
    }
    return found;
  }
  get receivedUs() {
    return (this.words[this.w + 5] >>> 0) * 4294967296 + (this.words[this.w + 4] >>> 0);
  }
  get runningUs() {
    return (this.words[this.w + 8] >>> 0) * 4294967296 + (this.words[this.w + 7] >>> 0);
  }
  get marks() { return this.words[this.w + 6]; }
  get retain() { return (this.marks & RETAIN) !== 0; }
  get duplicate() { return (this.marks & DUPLICATE) !== 0; }
  get replayed() { return (this.marks & REPLAYED) !== 0; }
  get clockUnset() { return (this.marks & CLOCK_UNSET) !== 0; }
  get qos() { return (this.marks >> 4) & 3; }

  text() {
    try { return decode(this.latin); } catch { throw new Reject("payload is not text"); }
  }
  json() {
    if (this.parsed === undefined) {
      const text = this.text();
      if (text === "") throw new Empty("payload is empty");
      try { this.parsed = JSON.parse(text); } catch (error) { throw new Reject(`payload is not JSON: ${error.message}`); }
    }
    return this.parsed;
  }
  /** A field of a JSON object by its path, `battery.volts`; `undefined` when it is not there. */
  field(path) {
    let value;
    try { value = this.json(); } catch (error) {
      throw error instanceof Empty ? error : new Reject(`payload is not a JSON object: ${error.message}`);
    }
    if (value === null || typeof value !== "object" || Array.isArray(value)) throw new Reject("payload is not a JSON object");
    for (const name of path.split(".")) {
      if (value === null || typeof value !== "object" || !Object.hasOwn(value, name)) return undefined;
      value = value[name];
    }
    return value;
  }
  /** The same, where it has to be there; `null` is no value. */
  need(path) {
    const value = this.field(path);
    if (value === undefined || value === null) throw new Missing(`field \`${path}\` is missing`);
    return value;
  }
  number(path) {
    const value = this.need(path);
    if (typeof value !== "number") throw new Reject(`field \`${path}\` is not a number: \`${JSON.stringify(value).slice(0, 60)}\``);
    return value;
  }
}

/** Says what becomes of the message at hand. Saying nothing filters it; throwing rejects it. */
class Outputs {
  constructor(ports) {
    this.ports = ports;
    this.words = [];
    this.data = [];
    this.input = NO_INPUT;
    this.message = null;
  }
  push(action, port, topic, headers, body, key, marks) {
    this.words.push(this.input, action | (port << 16), topic.length, headers.length, body.length, 0, marks, key.length);
    this.data.push(topic, headers, body, key);
  }
  pass() { this.push(PASS, 0, "", "", "", "", this.message.marks); }
  absorb() { this.push(ABSORB, 0, "", "", "", "", this.message.marks); }
  reject(why, excused = false) {
    this.push(REJECT, 0, "", "", encode(String(why)), "", this.message.marks | (excused ? EXCUSED : 0));
  }
  /** A new payload under the message's topic, key, headers and marks. */
  emit(payload) {
    const { message } = this;
    this.push(EMIT, 0, "", message.headerBlock, latinBody(payload), "", message.marks);
  }
  emitJson(value) { this.emit(JSON.stringify(value)); }
  /** A message of your own: `{ topic, payload | json, port, key, headers, retain, qos }`. It has the key of the one at hand. */
  send({ topic = "", payload, json, port = "out", key = "", headers = {}, retain = false, qos = 1 }) {
    const number = port === "out" ? 0 : 1 + this.ports.indexOf(port);
    if (number === 0 && port !== "out") throw new Error(`no port \`${port}\` was declared`);
    if (this.message === null && topic === "") throw new Error("what a timer sends needs a topic");
    const trace = this.message === null ? {} : traceOf(this.message);
    let block = "";
    for (const [name, value] of Object.entries({ ...trace, ...headers })) {
      block += withLength(encode(name)) + withLength(encode(String(value)));
    }
    const body = payload === undefined ? encode(JSON.stringify(json)) : latinBody(payload);
    this.push(EMIT, number, encode(topic), block, body, encode(key), (retain ? RETAIN : 0) | (qos << 4));
  }
  begin(input, message) {
    this.input = input;
    this.message = message;
    this.kept = this.words.length;
    this.keptData = this.data.length;
  }
  undo() {
    this.words.length = this.kept;
    this.data.length = this.keptData;
  }
  // Of a plain array the engine makes numbers of 31 bits.
  done() { return { stride: STRIDE, words: Uint32Array.from(this.words), data: bytesOf(this.data.join("")) }; }
}

function traceOf(message) {
  if (message.words[message.w + 1] === 0) return {};
  const kept = Object.entries(message.headers).filter(([name]) => name === "traceparent" || name === "tracestate");
  return Object.fromEntries(kept);
}

/** A value by key, saved as JSON: what `of` has handed out, or `set` has set, is written with the next checkpoint. */
class State {
  constructor(initial, most) {
    this.initial = initial;
    this.most = most;
    this.values = new Map();
    this.changed = new Set();
    this.saving = new Set();
  }
  get(key) { return this.values.get(key); }
  of(key) {
    let value = this.values.get(key);
    if (value === undefined) value = this.initial();
    else this.values.delete(key); // put back last: the first one was quiet for longest
    this.values.set(key, value);
    this.changed.add(key);
    this.makeRoom();
    return value;
  }
  set(key, value) {
    this.values.delete(key);
    this.values.set(key, value);
    this.changed.add(key);
    this.makeRoom();
  }
  delete(key) {
    if (this.values.delete(key)) this.changed.add(key);
  }
  keys() { return [...this.values.keys()]; }
  get size() { return this.values.size; }
  makeRoom() {
    while (this.values.size > this.most) {
      this.delete(this.values.keys().next().value);
      counter("keys_forgotten", 1);
    }
  }
  save(changedOnly, cursor) {
    if (cursor === 0) {
      // What a save that was given up had taken is still to be saved.
      for (const key of this.saving) this.changed.add(key);
      this.saving = this.changed;
      this.changed = new Set();
      this.page = changedOnly ? [...this.saving] : [...this.values.keys()];
    }
    const words = [], data = [];
    let at = cursor, bytes = 0;
    for (; at < this.page.length && bytes < PAGE_BYTES; at++) {
      const key = encode(this.page[at]), value = this.values.get(this.page[at]);
      const json = value === undefined ? "" : encode(JSON.stringify(value));
      words.push(key.length, value === undefined ? GONE : json.length);
      data.push(key, json);
      bytes += key.length + json.length;
    }
    const isDone = at >= this.page.length;
    if (isDone) this.saving = new Set();
    return { next: isDone ? null : at, words: Uint32Array.from(words), data: bytesOf(data.join("")) };
  }
  restore(page, read) {
    const data = latinOf(page.data);
    for (let i = 0, at = 0; i < page.words.length; i += 2) {
      const key = decode(data.substr(at, page.words[i])), length = page.words[i + 1] >>> 0;
      at += page.words[i];
      if (length === GONE) { this.values.delete(key); continue; }
      this.values.set(key, read(JSON.parse(decode(data.substr(at, length)))));
      at += length;
    }
  }
}

const wrong = (name, what, value) => new Reject(`\`${name}\` is not ${what}: ${JSON.stringify(value)}`);
const UNITS = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86400 };

/** Kinds of settings: `settings: { limit: number, unit: optional(text, "°C") }`. */
export const number = (value, name) => { if (typeof value !== "number") throw wrong(name, "a number", value); return value; };
export const text = (value, name) => { if (typeof value !== "string") throw wrong(name, "text", value); return value; };
export const flag = (value, name) => { if (typeof value !== "boolean") throw wrong(name, "true or false", value); return value; };
/** A time, `"10m"`; the rule gets seconds. */
export const duration = (value, name) => {
  const parts = typeof value === "string" && /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(value);
  if (!parts) throw wrong(name, "a time as in \"10m\"", value);
  return Number(parts[1]) * UNITS[parts[2]];
};
export const list = (kind) => (value, name) => {
  if (!Array.isArray(value)) throw wrong(name, "a list", value);
  return value.map((one, index) => kind(one, `${name}.${index}`));
};
export const optional = (kind, instead) => Object.assign((value, name) => kind(value, name), { isOptional: true, instead });

function check(kinds, given) {
  if (typeof kinds === "function") return kinds(given);
  const known = Object.keys(kinds), settings = {};
  for (const name of Object.keys(given)) {
    if (!known.includes(name)) throw new Reject(`unknown setting \`${name}\`; there are: ${known.join(", ") || "none"}`);
  }
  for (const name of known) {
    if (given[name] !== undefined) settings[name] = kinds[name](given[name], name);
    else if (kinds[name].isOptional) settings[name] = kinds[name].instead;
    else throw new Reject(`\`${name}\` is missing`);
  }
  return settings;
}

/** A reason in words: of a mistake in the rule also where it is. */
function reason(error) {
  if (!(error instanceof Error)) return String(error);
  const isMeant = error instanceof Reject || error.constructor === Error;
  const place = isMeant ? null : /\(?\/?([\w.-]+:\d+)(?::\d+)?\)?\n/.exec(`${error.stack}\n`);
  return place ? `${error.name}: ${error.message} (${place[1]})` : error.message;
}

function judge(out, message, error) {
  out.undo();
  if (error instanceof Empty && message.retain) out.pass();
  else out.reject(reason(error), error instanceof Missing);
}

/**
 * What a plugin exports: `export const { transform, timer, state } = define({ … })`, of which it names what it has.
 * `settings` are kinds by name, `ports` names beside `out`, `state` makes the value of a new key, `tickEvery` is seconds, or a
 * function of the settings.
 */
export function define({
  settings: kinds = {}, ports = [], tickEvery = 0, state: initial = () => ({}), mostKeys = 20000, stateVersion = 1,
  oneLane = false, upgrade, start, process, tick,
}) {
  const kept = new State(initial, mostKeys);
  const context = { settings: {}, state: kept, nowUs: 0 };
  const transform = {
    configure(json) {
      try {
        context.settings = check(kinds, JSON.parse(json));
        start?.(context);
        const every = typeof tickEvery === "function" ? tickEvery(context.settings) : tickEvery;
        const version = oneLane ? stateVersion | ONE_LANE : stateVersion; // with bit 31 a negative number: the engine takes no larger
        return { ports, tickEveryUs: Math.round(every * 1e6), stateVersion: version };
      } catch (error) {
        throw reason(error);
      }
    },
    process(batch) {
      const { words, stride } = batch, arena = latinOf(batch.data), out = new Outputs(ports);
      context.nowUs = Number(batch.nowUs);
      let keys = 0;
      for (let w = 0; w < words.length; w += stride) keys += words[w] + words[w + 1] + words[w + 2];
      for (let w = 0, at = 0, input = 0; w < words.length; w += stride, input++) {
        const own = stride > 9 ? words[w + 9] : 0;
        const message = new Message(arena, at, words, w, own > 0 ? arena.substr(keys, own) : "");
        keys += own;
        at += words[w] + words[w + 1] + words[w + 2];
        out.begin(input, message);
        try { process(message, out, context); } catch (error) { judge(out, message, error); }
      }
      return out.done();
    },
  };
  const timer = {
    tick(nowUs) {
      const out = new Outputs(ports);
      context.nowUs = Number(nowUs);
      out.begin(NO_INPUT, null);
      try { tick(out, context); } catch (error) { out.undo(); host.error(`tick: ${reason(error)}`); }
      return out.done();
    },
  };
  const state = {
    save: (changedOnly, cursor) => kept.save(changedOnly, Number(cursor)),
    restore(version, page) {
      try {
        if (version !== stateVersion && !upgrade) throw new Reject(`state of version ${version} cannot be read by version ${stateVersion}`);
        kept.restore(page, version === stateVersion ? (value) => value : (value) => upgrade(version, value));
      } catch (error) {
        throw reason(error);
      }
    },
  };
  return { transform, timer, state };
}

/** A rule that only keeps or drops: `keep(message, settings, context)` says which. */
export function filter({ settings, keep, ...rest }) {
  const process = (message, out, context) => { if (keep(message, context.settings, context)) out.pass(); };
  return define({ settings, process, ...rest });
}
