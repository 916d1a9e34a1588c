// Runs a codec of the LoRa Alliance's payload codec API (TS013) on the envelopes of ChirpStack v4 and The Things Stack v3.

import { Reject, define, flag, host, optional } from "./tidegate.js";

const NAMES = ["decodeUplink", "encodeDownlink"];

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const words = (list) => (Array.isArray(list) ? list : [list]).map(String).join("; ");

/** A codec is a script and no module: names that it never declares are variables to it. */
function load(source) {
  const script = source
    .replace(/^\uFEFF/, "")
    .replace(/^\s*export\s+(?:default\s+)?(?=(?:async\s+)?function\b|const\b|let\b|var\b|class\b)/gm, "")
    .replace(/^\s*export\s*\{[^}]*\};?/gm, "");
  const found = NAMES.map((name) => `${name}: typeof ${name} === "function" ? ${name} : undefined`);
  const module = { exports: {} };
  const require = (name) => { throw new Error(`codec.js wants the package \`${name}\`: bundle it into one file first`); };
  const say = (...what) => host.debug(what.map((one) => (typeof one === "string" ? one : JSON.stringify(one))).join(" "));
  const console = { log: say, info: say, warn: say, error: say, debug: say };
  const run = new Function("module", "exports", "require", "console", `${script}\n;return { ${found.join(", ")} };`);
  const declared = run(module, module.exports, require, console);
  const codec = {};
  for (const name of NAMES) codec[name] = declared[name] ?? module.exports[name] ?? module.exports.default?.[name];
  if (!codec.decodeUplink && !codec.encodeDownlink) throw new Error("codec.js has neither decodeUplink nor encodeDownlink");
  return codec;
}

/** What both envelopes say of an uplink; `null` of one without a payload. */
function uplink(envelope) {
  const inner = envelope.uplink_message;
  if (isObject(inner)) {
    const ids = envelope.end_device_ids ?? {};
    return {
      base64: inner.frm_payload, fPort: inner.f_port ?? 0, fCnt: inner.f_cnt ?? 0,
      time: inner.received_at ?? envelope.received_at, device: ids.dev_eui ?? ids.device_id,
    };
  }
  if (isObject(envelope.deviceInfo)) {
    return { base64: envelope.data, fPort: envelope.fPort ?? 0, fCnt: envelope.fCnt ?? 0, time: envelope.time, device: envelope.deviceInfo.devEui };
  }
  throw new Reject("no uplink of ChirpStack v4 (`deviceInfo`) or The Things Stack v3 (`uplink_message`)");
}

function bytes(base64) {
  try { return Array.from(Uint8Array.fromBase64(base64)); } catch { throw new Reject("the payload is not base64"); }
}

function asked(what, input) {
  let answer;
  try { answer = what(input); } catch (error) { throw new Reject(`codec.js threw ${error?.name ?? "an error"}: ${error?.message ?? error}`); }
  if (!isObject(answer)) throw new Reject("codec.js answers with no object");
  if (Array.isArray(answer.errors) && answer.errors.length > 0) throw new Reject(`codec.js says: ${words(answer.errors)}`);
  if (Array.isArray(answer.warnings) && answer.warnings.length > 0) host.counter("codec_warnings", answer.warnings.length);
  return answer;
}

function decode(codec, envelope, message, out, settings) {
  const { base64, fPort, fCnt, time, device } = uplink(envelope);
  if (typeof base64 !== "string" || base64 === "") return;
  if (!codec.decodeUplink) throw new Reject("codec.js has no decodeUplink");
  const told = new Date(time ?? NaN), recvTime = Number.isNaN(told.getTime()) ? new Date(message.receivedUs / 1000) : told;
  const { data, warnings = [] } = asked(codec.decodeUplink, { bytes: bytes(base64), fPort, recvTime, variables: {} });
  if (data === undefined || data === null) throw new Reject("codec.js answers without data");
  out.emitJson(settings.wrap ? { device, time: recvTime, fPort, fCnt, data, warnings } : data);
}

function encoded(codec, data, before) {
  if (!codec.encodeDownlink) throw new Reject("codec.js has no encodeDownlink");
  const { bytes, fPort } = asked(codec.encodeDownlink, { data, fPort: before, variables: {} });
  if (!Array.isArray(bytes) && !(bytes instanceof Uint8Array)) throw new Reject("codec.js answers without bytes");
  return { base64: Uint8Array.from(bytes).toBase64(), fPort: fPort ?? before };
}

/** The downlink with bytes in the place of an object, as the network's server takes it. */
function downlink(codec, envelope) {
  if (Array.isArray(envelope.downlinks)) {
    const downlinks = envelope.downlinks.map(({ decoded_payload, ...rest }) => {
      if (!isObject(decoded_payload)) return rest;
      const { base64, fPort } = encoded(codec, decoded_payload, rest.f_port);
      return { ...rest, f_port: fPort, frm_payload: base64 };
    });
    return { ...envelope, downlinks };
  }
  const { object, ...rest } = envelope;
  const { base64, fPort } = encoded(codec, object, rest.fPort);
  return { ...rest, fPort, data: base64 };
}

export function lorawan(source) {
  const codec = load(source);
  return define({
    settings: { wrap: optional(flag, false) },
    process(message, out, { settings }) {
      const envelope = message.json();
      if (!isObject(envelope)) throw new Reject("payload is not a JSON object");
      const isDownlink = Array.isArray(envelope.downlinks) || (isObject(envelope.object) && !isObject(envelope.deviceInfo));
      if (isDownlink) out.emitJson(downlink(codec, envelope));
      else decode(codec, envelope, message, out, settings);
    },
  });
}
