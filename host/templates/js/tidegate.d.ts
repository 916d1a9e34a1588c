/** A message; it is good until `process` returns. */
export interface Message {
  readonly topic: string;
  /** The device (`{device}` in the flow's topics, or what the flow's `key` says). */
  readonly key: string;
  readonly payload: Uint8Array;
  readonly headers: Record<string, string>;
  /** Microseconds since 1970; may jump. */
  readonly receivedUs: number;
  /** Microseconds the gateway has run: for durations, also in state. */
  readonly runningUs: number;
  readonly retain: boolean;
  readonly duplicate: boolean;
  readonly replayed: boolean;
  readonly clockUnset: boolean;
  readonly qos: number;
  text(): string;
  json<T = unknown>(): T;
  /** By its path, `battery.volts`; `undefined` when it is not there. */
  field(path: string): unknown;
  /** The same; a message without it, or with `null`, is rejected. */
  need(path: string): unknown;
  number(path: string): number;
}

export interface Sent {
  topic?: string;
  payload?: string | Uint8Array;
  json?: unknown;
  port?: string;
  key?: string;
  headers?: Record<string, string>;
  retain?: boolean;
  qos?: 0 | 1 | 2;
}

export interface Outputs {
  pass(): void;
  absorb(): void;
  reject(why: string, excused?: boolean): void;
  /** A new payload under the message's topic, key, headers and marks. */
  emit(payload: string | Uint8Array): void;
  emitJson(value: unknown): void;
  /** A message of your own. */
  send(message: Sent): void;
}

export interface State<V> {
  get(key: string): V | undefined;
  of(key: string): V;
  set(key: string, value: V): void;
  delete(key: string): void;
  keys(): string[];
  readonly size: number;
}

export interface Context<S, V> {
  settings: S;
  state: State<V>;
  nowUs: number;
}

export type Kind<T> = (value: unknown, name: string) => T;
export type Settings<K> = { [name in keyof K]: K[name] extends Kind<infer T> ? T : never };

export interface Plugin<K, V> {
  settings?: K;
  ports?: string[];
  /** Seconds between two ticks. */
  tickEvery?: number | ((settings: Settings<K>) => number);
  state?: () => V;
  mostKeys?: number;
  stateVersion?: number;
  oneLane?: boolean;
  upgrade?: (version: number, saved: unknown) => V;
  start?(context: Context<Settings<K>, V>): void;
  tick?(out: Outputs, context: Context<Settings<K>, V>): void;
}

export interface Exports {
  transform: object;
  timer: object;
  state: object;
}

export function define<K extends Record<string, Kind<any>>, V = Record<string, unknown>>(
  plugin: Plugin<K, V> & { process(message: Message, out: Outputs, context: Context<Settings<K>, V>): void },
): Exports;
export function filter<K extends Record<string, Kind<any>>, V = Record<string, unknown>>(
  plugin: Plugin<K, V> & { keep(message: Message, settings: Settings<K>, context: Context<Settings<K>, V>): boolean },
): Exports;

export const number: Kind<number>;
export const text: Kind<string>;
export const flag: Kind<boolean>;
/** `"10m"` in the config, seconds in the rule. */
export const duration: Kind<number>;
export function list<T>(kind: Kind<T>): Kind<T[]>;
export function optional<T>(kind: Kind<T>, instead: T): Kind<T>;

export class Reject extends Error {}
export class Missing extends Reject {}

export const host: {
  error(text: string): void;
  warn(text: string): void;
  info(text: string): void;
  debug(text: string): void;
  counter(name: string, add?: number): void;
  gauge(name: string, value: number): void;
  runningUs(): number;
  flow(): { name: string; topics: string[]; key: string | null };
};
