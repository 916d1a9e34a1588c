"""What a Tidegate plugin in Python is made with: it hides the words and bytes of the contract.

Nothing in it is yours to change; `tidegate plugin new` brings the one that fits its gateway.
"""

import dataclasses
import json
import struct
import traceback
from typing import Any, Callable, get_args, get_origin, get_type_hints

from componentize_py_types import Err
from wit_world.imports import clock, flow, log, metrics
from wit_world.imports.types import Output, Page, Setup

PASS, EMIT, ABSORB, REJECT = range(4)
NO_INPUT = GONE = 0xFFFFFFFF
STRIDE = 8
RETAIN, DUPLICATE, REPLAYED, CLOCK_UNSET, EXCUSED = 1, 2, 4, 8, 64
PAGE_BYTES = 65_536
ONE_LANE = 1 << 31

# One encoder for all: `json.dumps` with separators makes a new one for each call.
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class Reject(Exception):
    """Raised by a rule: the message goes to the dead letters in these words."""


class Missing(Reject):
    """The payload lacks a value: rejected, and not held against the device."""


class _Empty(Reject):
    pass


class Message:
    """A message. Its parts are read when they are asked for."""

    __slots__ = ("_at", "_data", "_own_key", "_parsed", "_words")

    def __init__(self, data: bytes, at: int, words: list[int], own_key: bytes):
        self._data, self._at, self._words, self._own_key = data, at, words, own_key
        self._parsed = _Empty

    @property
    def topic(self) -> str:
        return self._data[self._at : self._at + self._words[0]].decode()

    @property
    def key(self) -> str:
        """The device (`{device}` in the flow's topics, or what the flow's `key` says)."""
        if self._own_key:
            return self._own_key.decode()
        begin = self._at + (self._words[3] & 0xFFFF)
        return self._data[begin : begin + (self._words[3] >> 16)].decode()

    @property
    def payload(self) -> bytes:
        begin = self._at + self._words[0] + self._words[1]
        return self._data[begin : begin + self._words[2]]

    @property
    def _headers(self) -> bytes:
        begin = self._at + self._words[0]
        return self._data[begin : begin + self._words[1]]

    @property
    def headers(self) -> dict[str, str]:
        block, at, parts = self._headers, 0, []
        while at < len(block):
            (length,) = struct.unpack_from("<H", block, at)
            parts.append(block[at + 2 : at + 2 + length].decode(errors="replace"))
            at += 2 + length
        return dict(zip(parts[::2], parts[1::2]))

    @property
    def received_us(self) -> int:
        """When it came, microseconds since 1970; may jump."""
        return self._words[5] << 32 | self._words[4]

    @property
    def running_us(self) -> int:
        """When it came, microseconds the gateway has run: for durations, also in state."""
        return self._words[8] << 32 | self._words[7]

    @property
    def retain(self) -> bool:
        return bool(self._words[6] & RETAIN)

    @property
    def duplicate(self) -> bool:
        return bool(self._words[6] & DUPLICATE)

    @property
    def replayed(self) -> bool:
        return bool(self._words[6] & REPLAYED)

    @property
    def clock_unset(self) -> bool:
        return bool(self._words[6] & CLOCK_UNSET)

    @property
    def qos(self) -> int:
        return self._words[6] >> 4 & 3

    def text(self) -> str:
        try:
            return self.payload.decode()
        except UnicodeDecodeError:
            raise Reject("payload is not text") from None

    def json(self) -> Any:
        if self._parsed is _Empty:
            text = self.text()
            if not text:
                raise _Empty("payload is empty")
            try:
                self._parsed = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise Reject(f"payload is not JSON: {error}") from None
        return self._parsed

    def field(self, path: str, instead: Any = None) -> Any:
        """A field of a JSON object by its path, `battery.volts`; `instead` when it is not there."""
        try:
            value = self.json()
        except _Empty:
            raise
        except Reject as error:
            raise Reject(f"payload is not a JSON object: {error}") from None
        if not isinstance(value, dict):
            raise Reject("payload is not a JSON object")
        for name in path.split("."):
            if not isinstance(value, dict) or name not in value:
                return instead
            value = value[name]
        return value

    def need(self, path: str) -> Any:
        """The same, where it has to be there; `null` is no value."""
        value = self.field(path)
        if value is None:
            raise Missing(f"field `{path}` is missing")
        return value

    def number(self, path: str) -> float:
        value = self.need(path)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Reject(f"field `{path}` is not a number: `{_encode(value)[:60]}`")
        return value


class Outputs:
    """Says what becomes of the message at hand. Saying nothing filters it; raising rejects it."""

    def __init__(self, ports: list[str]):
        self._ports, self._input, self._message = ports, NO_INPUT, None
        self._words, self._data = [], []

    def _push(self, action, port=0, topic=b"", headers=b"", body=b"", key=b"", marks=0):
        self._words += (self._input, action | port << 16, len(topic), len(headers), len(body), 0, marks, len(key))
        self._data += (topic, headers, body, key)

    def pass_on(self) -> None:
        self._push(PASS, marks=self._message._words[6])

    def absorb(self) -> None:
        self._push(ABSORB, marks=self._message._words[6])

    def reject(self, why: object, excused: bool = False) -> None:
        marks = self._message._words[6] | (EXCUSED if excused else 0)
        self._push(REJECT, body=str(why).encode(errors="replace"), marks=marks)

    def emit(self, payload: str | bytes) -> None:
        """A new payload under the message's topic, key, headers and marks."""
        message = self._message
        self._push(EMIT, headers=message._headers, body=_bytes(payload), marks=message._words[6])

    def emit_json(self, value: Any) -> None:
        self.emit(_encode(value))

    def send(
        self,
        payload: str | bytes | None = None,
        *,
        json: Any = None,
        topic: str = "",
        port: str = "out",
        key: str = "",
        headers: dict[str, str] | None = None,
        retain: bool = False,
        qos: int = 1,
    ) -> None:
        """A message of your own. It has the key of the one at hand."""
        if port != "out" and port not in self._ports:
            raise ValueError(f"no port `{port}` was declared")
        if self._message is None and not topic:
            raise ValueError("what a timer sends needs a topic")
        kept = {} if self._message is None or not self._message._words[1] else _trace(self._message.headers)
        block = b"".join(
            struct.pack("<H", len(part)) + part
            for pair in (kept | (headers or {})).items()
            for part in (str(text).encode() for text in pair)
        )
        number = 0 if port == "out" else 1 + self._ports.index(port)
        body = _bytes(_encode(json) if payload is None else payload)
        self._push(EMIT, number, topic.encode(), block, body, key.encode(), (RETAIN if retain else 0) | qos << 4)

    def _begin(self, index: int, message: Message | None) -> None:
        self._input, self._message = index, message
        self._kept = len(self._words), len(self._data)

    def _undo(self) -> None:
        del self._words[self._kept[0] :], self._data[self._kept[1] :]

    def _done(self) -> Output:
        return Output(STRIDE, self._words, b"".join(self._data))


class State(dict):
    """A value by key, saved as JSON. What is assigned, or handed out by `of`, is written with the next checkpoint.

    `initial` makes the value of a new key; beyond `most` keys the one that was quiet for longest is forgotten.
    """

    def __init__(self, initial: Callable[[], Any] = dict, most: int = 20_000, version: int = 1, upgrade=None):
        super().__init__()
        self._initial, self._most, self._version, self._upgrade = initial, most, version, upgrade
        self._changed: dict[str, None] = {}
        self._saving: dict[str, None] = {}
        self._page: list[str] = []

    def of(self, key: str) -> Any:
        value = self[key] if key in self else self._initial()
        self[key] = value
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        super().pop(key, None)  # put back last: the first one was quiet for longest
        super().__setitem__(key, value)
        self._changed[key] = None
        while len(self) > self._most:
            del self[next(iter(self))]
            metrics.counter("keys_forgotten", 1)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._changed[key] = None

    def pop(self, key: str, *instead: Any) -> Any:
        if key in self:
            self._changed[key] = None
        return super().pop(key, *instead)

    def _save(self, changed_only: bool, cursor: int) -> Page:
        if cursor == 0:
            # What a save that was given up had taken is still to be saved.
            self._saving, self._changed = self._saving | self._changed, {}
            self._page = list(self._saving if changed_only else self)
        words, data, size, at = [], [], 0, cursor
        while at < len(self._page) and size < PAGE_BYTES:
            key = self._page[at]
            name, value = key.encode(), _encode(self[key]).encode() if key in self else b""
            words += (len(name), len(value) if key in self else GONE)
            data += (name, value)
            size += len(name) + len(value)
            at += 1
        is_done = at >= len(self._page)
        if is_done:
            self._saving = {}
        return Page(None if is_done else at, words, b"".join(data))

    def _restore(self, version: int, page: Page) -> None:
        if version != self._version and self._upgrade is None:
            raise Reject(f"state of version {version} cannot be read by version {self._version}")
        at, words = 0, page.words
        for index in range(0, len(words), 2):
            key, at = page.data[at : at + words[index]].decode(), at + words[index]
            if words[index + 1] == GONE:
                super().pop(key, None)
                continue
            value, at = json.loads(page.data[at : at + words[index + 1]]), at + words[index + 1]
            super().__setitem__(key, value if version == self._version else self._upgrade(version, value))


def transform(
    process: Callable,
    settings: type | None = None,
    *,
    ports: list[str] | None = None,
    tick_every: float | Callable[[Any], float] = 0,
    state: State | None = None,
    one_lane: bool = False,
    start: Callable[[Any], None] | None = None,
) -> type:
    """What the contract calls `Transform`. `settings` is a dataclass, and its instance what `process` and `tick` get third."""
    ports = ports or []

    class Transform:
        settings_of = None

        def configure(self, text: str) -> Setup:
            try:
                Transform.settings_of = _read(settings, json.loads(text))
                if start:
                    start(Transform.settings_of)
                every = tick_every(Transform.settings_of) if callable(tick_every) else tick_every
            except Exception as error:
                raise Err(_reason(error)) from None
            version = (state._version if state is not None else 1) | (ONE_LANE if one_lane else 0)
            return Setup(ports, round(every * 1e6), version)

        def process(self, batch) -> Output:
            words, data, stride, out = batch.words, batch.data, batch.stride, Outputs(ports)
            entries = [words[w : w + stride] for w in range(0, len(words), stride)]
            keys = sum(entry[0] + entry[1] + entry[2] for entry in entries)
            at, given = 0, Transform.settings_of
            for index, entry in enumerate(entries):
                own = entry[9] if stride > 9 else 0
                message = Message(data, at, entry, data[keys : keys + own])
                keys += own
                at += entry[0] + entry[1] + entry[2]
                out._begin(index, message)
                try:
                    process(message, out, given) if settings else process(message, out)
                except Exception as error:
                    out._undo()
                    if isinstance(error, _Empty) and message.retain:
                        out.pass_on()
                    else:
                        out.reject(_reason(error), isinstance(error, Missing))
            return out._done()

    Transform.ports = ports
    return Transform


def filter(keep: Callable, settings: type | None = None, **more: Any) -> type:
    """A rule that only keeps or drops: `keep(message, settings)` says which."""

    def process(message, out, *given):
        if keep(message, *given):
            out.pass_on()

    return transform(process, settings, **more)


def timer(tick: Callable, of: type) -> type:
    """What the contract calls `Timer`: `tick(out, settings)` of the plugin that `transform` made."""

    class Timer:
        def tick(self, now_us: int) -> Output:
            out = Outputs(of.ports)
            out._begin(NO_INPUT, None)
            try:
                tick(out, of.settings_of) if of.settings_of is not None else tick(out)
            except Exception as error:
                out._undo()
                host.error(f"tick: {_reason(error)}")
            return out._done()

    return Timer


def state(kept: State) -> type:
    """What the contract calls `State`."""

    class Saved:
        def save(self, changed_only: bool, cursor: int) -> Page:
            return kept._save(changed_only, cursor)

        def restore(self, version: int, page: Page) -> None:
            try:
                kept._restore(version, page)
            except Exception as error:
                raise Err(_reason(error)) from None

    return Saved


class host:
    """Log, numbers, clock and flow."""

    @staticmethod
    def error(text: object) -> None:
        log.log(log.Level.ERROR, str(text))

    @staticmethod
    def warn(text: object) -> None:
        log.log(log.Level.WARN, str(text))

    @staticmethod
    def info(text: object) -> None:
        log.log(log.Level.INFO, str(text))

    @staticmethod
    def counter(name: str, add: int = 1) -> None:
        metrics.counter(name, add)

    @staticmethod
    def gauge(name: str, value: float) -> None:
        metrics.gauge(name, float(value))

    @staticmethod
    def now_us() -> int:
        return clock.now_us()

    @staticmethod
    def running_us() -> int:
        return clock.running_us()

    @staticmethod
    def flow() -> tuple[str, list[str], str | None]:
        """Its name, the topics that it takes, and the name in them that the config says is the key."""
        return flow.name(), flow.topics(), flow.key()


class Duration(float):
    """A kind of setting: `"10m"` in the config, seconds in the rule."""


_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def _read(kind: type | None, given: dict[str, Any]) -> Any:
    fields = dataclasses.fields(kind) if kind else ()
    names = [field.name for field in fields]
    for name in given:
        if name not in names:
            raise Reject(f"unknown setting `{name}`; there are: {', '.join(names) or 'none'}")
    hints, values = get_type_hints(kind) if kind else {}, {}
    for field in fields:
        if field.name in given:
            values[field.name] = _value(hints[field.name], given[field.name], field.name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise Reject(f"`{field.name}` is missing")
    return kind(**values) if kind else None


def _value(hint: Any, value: Any, name: str) -> Any:
    if get_origin(hint) is list and isinstance(value, list):
        return [_value(get_args(hint)[0], one, f"{name}.{index}") for index, one in enumerate(value)]
    if hint is Duration:
        for unit, seconds in _UNITS.items():
            digits = value.removesuffix(unit) if isinstance(value, str) else ""
            if digits != value and digits.replace(".", "", 1).isdigit():
                return Duration(float(digits) * seconds)
        raise Reject(f'`{name}` is not a time as in "10m": {_encode(value)}')
    kinds = (int, float) if hint is float else hint
    is_kind = kinds is Any or get_origin(hint) is not None or isinstance(value, kinds)
    if not is_kind or isinstance(value, bool) and hint in (int, float):
        raise Reject(f"`{name}` is not {'a number' if hint in (int, float) else hint.__name__}: {_encode(value)}")
    return value


def _bytes(payload: str | bytes) -> bytes:
    return payload.encode() if isinstance(payload, str) else bytes(payload)


def _trace(headers: dict[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}


def _reason(error: Exception) -> str:
    """A reason in words: of a mistake in the rule also where it is."""
    if isinstance(error, Reject):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({frame.filename.rsplit('/', 1)[-1]}:{frame.lineno})"
