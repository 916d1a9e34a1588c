//! A source of raw bytes: over TCP, in datagrams, on a serial line, what a program says, or what stands in files.

use std::time::Duration;

use bytes::Bytes;

use super::super::address::{AddressError, BrokerAddress};
use super::super::connection::backoff;
use super::super::fields::Fields;
use super::shared::{line, refuse_exposed, spec};
use super::spec::SourceSpec;
use crate::config::problem::code::ProblemCode;
use crate::link::SerialBrake;
use crate::source::SourceKind;
use crate::source::raw::{
    Config, FilePattern, KnownOfPeer, LengthCounts, LengthField, PeerTopic, ProgramRounds,
    RawAddress, RawFraming, RawProgram, TailHandover,
};

/// Where raw bytes come from, by the scheme of the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RawWay {
    Dial,
    Listen,
    Datagrams,
    Serial,
    Program,
    Files,
}

/// Keys that only raw bytes have; each way has some of them.
pub(super) const OWN_KEYS: &[&str] = &[
    "topic",
    "reply",
    "settle_within",
    "open",
    "framing",
    "delimiter",
    "length",
    "counts",
    "size",
    "sync",
    "idle",
    "max_connections",
    "yields_after",
    "baud",
    "data",
    "parity",
    "stop",
    "brake",
    "arguments",
    "every",
    "within",
];

/// What some programs mean by `tcp://`.
const BROKER: &str = "; a broker is mqtt://host:1883";

const SECOND: Duration = Duration::from_secs(1);

/// Bytes of a delimiter, a sync or a reply at most.
const MOST_BYTES: usize = 64;

impl RawWay {
    /// That of a URL, if it is one of these.
    pub(super) fn of(scheme: &str) -> Option<Self> {
        match scheme {
            "tcp" => Some(Self::Dial),
            "tcp+listen" => Some(Self::Listen),
            "udp" => Some(Self::Datagrams),
            "serial" => Some(Self::Serial),
            "exec" => Some(Self::Program),
            "tail" => Some(Self::Files),
            _ => None,
        }
    }

    /// Its name for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dial => "tcp://",
            Self::Listen => "tcp+listen://",
            Self::Datagrams => "udp://",
            Self::Serial => "serial://",
            Self::Program => "exec://",
            Self::Files => "tail://",
        }
    }

    /// The keys that it has, of [`OWN_KEYS`].
    pub(super) fn keys(self) -> Vec<&'static str> {
        let has = |key: &&str| match *key {
            "topic" => true,
            "reply" | "settle_within" => !matches!(self, Self::Program | Self::Files),
            "idle" => !matches!(self, Self::Datagrams | Self::Files),
            "arguments" | "every" | "within" => self == Self::Program,
            "open" => matches!(self, Self::Listen | Self::Datagrams),
            "max_connections" | "yields_after" => self == Self::Listen,
            "baud" | "data" | "parity" | "stop" | "brake" => self == Self::Serial,
            _ => self != Self::Datagrams,
        };
        OWN_KEYS.iter().copied().filter(has).collect()
    }
}

pub(super) fn read(fields: &mut Fields<'_>, name: &str, way: RawWay) -> SourceSpec {
    let address = address(fields, way);
    guard(fields, &address);
    let framing = match way {
        // A datagram is a frame.
        RawWay::Datagrams => RawFraming::Line,
        _ => framing(fields, way),
    };
    let has = |key| way.keys().contains(&key);
    let config = Config {
        topic: topic(fields, name, way),
        reply: has("reply").then(|| reply(fields)).flatten(),
        settle_within: match has("settle_within") {
            true => fields.duration("settle_within", Duration::from_millis(100)..=600 * SECOND),
            // Nobody waits for an answer.
            false => 600 * SECOND,
        },
        backoff: backoff(fields),
        framing,
        kept: None,
        left: TailHandover::default(),
        address,
    };
    let (framing, address) = (config.framing.clone(), config.address.clone());
    let spec = spec(fields, name, SourceKind::Raw(Box::new(config)), u32::MAX);
    bounds(fields, &spec, &framing, &address);
    spec
}

fn address(fields: &mut Fields<'_>, way: RawWay) -> RawAddress {
    let url = fields.text("url").unwrap_or_default();
    if way == RawWay::Serial {
        return RawAddress::Serial(serial(fields, url));
    }
    if way == RawWay::Program {
        return RawAddress::Program(program(fields, url));
    }
    if way == RawWay::Files {
        return RawAddress::Files(files(fields, url));
    }
    let scheme = way.name().trim_end_matches("://");
    let parsed = BrokerAddress::parse_as(url, scheme, 0);
    let found = parsed.unwrap_or_else(|error| {
        let hint = match &error {
            AddressError::Brackets(_) | AddressError::Host(_) => error.hint(),
            AddressError::Login => "there are no logins here: leave it out".to_owned(),
            _ => format!(
                "write {}127.0.0.1:4001; a port is 1 to 65535{}",
                way.name(),
                if way == RawWay::Dial { BROKER } else { "" }
            ),
        };
        fields.problem(ProblemCode::Url, "url", format!("the URL {error}"), hint);
        BrokerAddress {
            host: "127.0.0.1".to_owned(),
            port: 0,
            tls: false,
            websocket: None,
        }
    });
    let BrokerAddress { host, port, .. } = found;
    if way == RawWay::Dial && matches!(port, 1_883 | 8_883) {
        let message = "the URL leads to the port of a broker, and tcp:// is raw bytes here";
        let hint = format!("what sends raw bytes has another port{BROKER}");
        fields.problem(ProblemCode::Url, "url", message, hint);
    }
    match way {
        RawWay::Listen => RawAddress::Listen {
            host,
            port,
            most: fields.count("max_connections", 1..=10_000) as usize,
            yields_after: fields.duration("yields_after", SECOND..=86_400 * SECOND),
        },
        RawWay::Datagrams => RawAddress::Datagrams { host, port },
        _ => RawAddress::Dial { host, port },
    }
}

fn serial(fields: &mut Fields<'_>, url: &str) -> crate::link::Serial {
    let path = url.strip_prefix("serial://").unwrap_or_default();
    if !path.starts_with('/') || path.contains(['?', '#', '\0']) {
        let hint = "write serial:///dev/ttyUSB0, with three slashes; `baud`, `data`, `parity` and `stop` are keys";
        let message = "the URL has no path of a serial line";
        fields.problem(ProblemCode::Url, "url", message, hint.to_owned());
    }
    let data = u8::try_from(fields.count("data", 5..=8)).unwrap_or(8);
    let brakes = [("none", SerialBrake::None), ("rts-cts", SerialBrake::Wires)];
    let brake = fields.choice("brake", &brakes).unwrap_or_default();
    line(fields, path, data, brake)
}

fn program(fields: &mut Fields<'_>, url: &str) -> RawProgram {
    let path = url.strip_prefix("exec://").unwrap_or_default();
    if !path.starts_with('/') || path.ends_with('/') || path.contains(['?', '#', '\0', ' ']) {
        let hint = "write exec:///usr/local/bin/weather, with three slashes; what it is given are `arguments`, and no shell reads them";
        let message = "the URL has no path of a program";
        fields.problem(ProblemCode::Url, "url", message, hint.to_owned());
    }
    let arguments = fields.texts("arguments");
    let arguments: Vec<String> = arguments
        .iter()
        .map(|(text, _)| (*text).to_owned())
        .collect();
    if arguments.iter().any(|text| text.contains('\0')) {
        let message = "an argument holds a byte 0, and no program can be given that";
        fields.problem(
            ProblemCode::OutOfRange,
            "arguments",
            message,
            "leave it out".to_owned(),
        );
    }
    RawProgram {
        path: path.into(),
        arguments,
        rounds: rounds(fields),
    }
}

fn files(fields: &mut Fields<'_>, url: &str) -> FilePattern {
    let path = url.strip_prefix("tail://").unwrap_or_default();
    FilePattern::parse(path).unwrap_or_else(|problem| {
        let hint = "write tail:///var/log/app.log, with three slashes, or a * for a part of the name: tail:///var/log/app-*.log";
        let message = format!("the path in the URL {problem}");
        fields.problem(ProblemCode::Url, "url", message, hint.to_owned());
        FilePattern::default()
    })
}

fn rounds(fields: &mut Fields<'_>) -> Option<ProgramRounds> {
    let within = fields.duration("within", Duration::from_millis(100)..=86_400 * SECOND);
    fields.find("every");
    if !fields.has("every") {
        return None;
    }
    let every = fields.duration("every", SECOND..=31 * 86_400 * SECOND);
    if within > every && fields.has("within") {
        let message = "a run may take longer (`within`) than until the next one (`every`)";
        let hint = "lower `within`, or raise `every`".to_owned();
        fields.problem(ProblemCode::Conflict, "within", message, hint);
    }
    Some(ProgramRounds {
        every,
        within: within.min(every),
    })
}

/// Beyond this machine whoever reaches a port can send what any device may.
fn guard(fields: &mut Fields<'_>, address: &RawAddress) {
    let host = match address {
        RawAddress::Listen { host, .. } | RawAddress::Datagrams { host, .. } => host,
        _ => return,
    };
    refuse_exposed(fields, host);
}

fn topic(fields: &mut Fields<'_>, name: &str, way: RawWay) -> PeerTopic {
    let written = fields.text("topic").unwrap_or_default();
    let known = match way {
        RawWay::Serial | RawWay::Program => KnownOfPeer::Nothing,
        RawWay::Files => KnownOfPeer::File,
        RawWay::Dial | RawWay::Listen | RawWay::Datagrams => KnownOfPeer::Address,
    };
    let parsed = PeerTopic::parse(&written.replace("{source}", name), known);
    parsed.unwrap_or_else(|error| {
        let names = match known {
            KnownOfPeer::Address => "{source}, {peer} and {port} may stand: \"line/{peer}\"",
            KnownOfPeer::File => "{source} and {file} may stand: \"log/{file}\"",
            KnownOfPeer::Nothing => "{source} may stand: \"line/scale-1\"",
        };
        fields.problem(
            ProblemCode::Topic,
            "topic",
            format!("`topic` {error}"),
            format!("a topic in which {names}"),
        );
        PeerTopic::any()
    })
}

/// One of the framings, and those keys of the others that are mistakes then.
fn framing(fields: &mut Fields<'_>, way: RawWay) -> RawFraming {
    let words = [
        ("line", "line"),
        ("delimiter", "delimiter"),
        ("length", "length"),
        ("fixed", "fixed"),
        ("idle", "idle"),
    ];
    // A file knows no silence.
    let words = &words[..words.len() - usize::from(way == RawWay::Files)];
    let kind = fields.choice("framing", words).unwrap_or("line");
    let keys: [(&str, &str); 6] = [
        ("delimiter", "delimiter"),
        ("length", "length"),
        ("counts", "length"),
        ("size", "fixed"),
        ("sync", "fixed"),
        ("idle", "idle"),
    ];
    for (key, of) in keys.into_iter().filter(|(key, _)| way.keys().contains(key)) {
        fields.find(key);
        if of != kind && fields.has(key) {
            let message = format!("`{key}` is set, but `framing` is \"{kind}\"");
            let hint = format!("leave it out, or write framing = \"{of}\"");
            fields.refuse(ProblemCode::Conflict, key, message, hint);
        }
    }
    match kind {
        "delimiter" => {
            fields.require("delimiter", "\"0x03\"");
            RawFraming::Delimiter(bytes(fields, "delimiter").unwrap_or_default().into())
        }
        "length" => length(fields),
        "fixed" => fixed(fields),
        "idle" => {
            let range = Duration::from_millis(5)..=60 * SECOND;
            RawFraming::Idle(fields.duration("idle", range))
        }
        _ => RawFraming::Line,
    }
}

fn length(fields: &mut Fields<'_>) -> RawFraming {
    let fields_of_length = [
        ("u8", LengthField::U8),
        ("u16be", LengthField::U16Big),
        ("u16le", LengthField::U16Little),
        ("u32be", LengthField::U32Big),
        ("u32le", LengthField::U32Little),
    ];
    let counted = [
        ("payload", LengthCounts::Payload),
        ("frame", LengthCounts::Frame),
    ];
    RawFraming::Length(
        fields
            .choice("length", &fields_of_length)
            .unwrap_or(LengthField::U16Big),
        fields.choice("counts", &counted).unwrap_or_default(),
    )
}

fn fixed(fields: &mut Fields<'_>) -> RawFraming {
    fields.require("size", "43");
    fields.require("sync", "\"0xAA55\"");
    let sync = bytes(fields, "sync").unwrap_or_default();
    let size = match fields.has("size") {
        true => fields.count("size", 2..=64 << 20) as usize,
        false => usize::MAX,
    };
    if size <= sync.len() {
        let message = "`size` is not longer than `sync`, which belongs to the frame";
        let hint = "count all bytes of a frame, from its first one on".to_owned();
        fields.problem(ProblemCode::OutOfRange, "size", message, hint);
    }
    RawFraming::Fixed {
        bytes: size,
        sync: sync.into(),
    }
}

fn reply(fields: &mut Fields<'_>) -> Option<Bytes> {
    fields.find("reply")?;
    bytes(fields, "reply").map(Bytes::from)
}

/// Text, or bytes in hexadecimal behind `0x`.
fn bytes(fields: &mut Fields<'_>, key: &'static str) -> Option<Vec<u8>> {
    let text = fields.text(key)?;
    let found = match text.strip_prefix("0x") {
        Some(digits) => hexadecimal(digits),
        None => Some(text.as_bytes().to_vec()),
    };
    let found = found.filter(|bytes| (1..=MOST_BYTES).contains(&bytes.len()));
    if found.is_none() {
        let message = format!("`{}.{key}` is no such text", fields.path);
        let hint = format!(
            "1 to {MOST_BYTES} bytes: text such as \"ACK\\n\", or \"0x\" and two digits for each: \"0xAA55\""
        );
        fields.problem(ProblemCode::OutOfRange, key, message, hint);
    }
    found
}

fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let byte = |pair: &[u8; 2]| u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok();
    pairs
        .iter()
        .map(byte)
        .collect::<Option<Vec<u8>>>()
        .filter(|_| rest.is_empty())
}

/// What is on its way in is bounded, too: a frame for each connection.
fn bounds(fields: &mut Fields<'_>, spec: &SourceSpec, framing: &RawFraming, address: &RawAddress) {
    if let RawFraming::Fixed { bytes, .. } = framing
        && *bytes != usize::MAX
        && *bytes > spec.max_payload_bytes
    {
        let message = "a frame of `size` is longer than `max_payload`";
        let hint = "raise `max_payload`".to_owned();
        fields.problem(ProblemCode::Conflict, "size", message, hint);
    }
    if let RawAddress::Listen { most, .. } = address
        && most.saturating_mul(spec.max_payload_bytes) > spec.max_unsettled_bytes
    {
        let message = "`max_connections` times `max_payload`, which half frames may take, is over `max_unsettled`";
        let hint = "lower one of the first two, or raise the last".to_owned();
        fields.problem(ProblemCode::Conflict, "max_connections", message, hint);
    }
}
