//! Reason codes of MQTT 5 and return codes of 3.1.1: name, hint, and how each is to be met.

use super::BrokerRefusal;
use crate::link::FailureKind;

/// Another client connected with our client id.
pub(super) const TAKEN_OVER: u8 = 0x8E;

/// One code: number, name as in the specification, what the operator can do about it.
struct ReasonCode {
    code: u8,
    name: &'static str,
    hint: &'static str,
}

const fn reason(code: u8, name: &'static str, hint: &'static str) -> ReasonCode {
    ReasonCode { code, name, hint }
}

/// MQTT 5, table 2-6, codes that end something; an empty hint where the name says it all.
const V5: &[ReasonCode] = &[
    reason(0x00, "normal disconnection", ""),
    reason(0x80, "unspecified error", "the broker's log may say more"),
    reason(0x81, "malformed packet", ""),
    reason(0x82, "protocol error", ""),
    reason(
        0x83,
        "implementation specific error",
        "the broker's log may say more",
    ),
    reason(
        0x84,
        "unsupported protocol version",
        "set the protocol to 3.1.1 or auto",
    ),
    reason(
        0x85,
        "client identifier not valid",
        "the broker does not take this client id",
    ),
    reason(
        0x86,
        "bad user name or password",
        "check user name and password",
    ),
    reason(
        0x87,
        "not authorized",
        "check the broker's access list and the client's credentials",
    ),
    reason(0x88, "server unavailable", ""),
    reason(0x89, "server busy", ""),
    reason(
        0x8A,
        "banned",
        "the broker's operator has banned this client",
    ),
    reason(0x8B, "server shutting down", ""),
    reason(
        0x8C,
        "bad authentication method",
        "the broker wants an authentication other than user name and password",
    ),
    reason(
        0x8D,
        "keep alive timeout",
        "the broker heard nothing in 1.5 times the keep-alive",
    ),
    reason(
        0x8E,
        "session taken over",
        "another client connected with the same client id: give each its own",
    ),
    reason(
        0x8F,
        "topic filter invalid",
        "the broker does not take this filter",
    ),
    reason(
        0x90,
        "topic name invalid",
        "the broker does not take this topic",
    ),
    reason(0x91, "packet identifier in use", ""),
    reason(0x92, "packet identifier not found", ""),
    reason(0x93, "receive maximum exceeded", ""),
    reason(0x94, "topic alias invalid", ""),
    reason(
        0x95,
        "packet too large",
        "raise the broker's packet limit or send less at once",
    ),
    reason(
        0x96,
        "message rate too high",
        "raise the broker's limit or send less often",
    ),
    reason(0x97, "quota exceeded", "a limit of the broker is reached"),
    reason(
        0x98,
        "administrative action",
        "the broker's operator ended it",
    ),
    reason(
        0x99,
        "payload format invalid",
        "the broker checks payloads and does not take this one",
    ),
    reason(
        0x9A,
        "retain not supported",
        "the broker keeps no retained messages",
    ),
    reason(0x9B, "QoS not supported", "use a lower level"),
    reason(
        0x9C,
        "use another server",
        "the broker asks for another address for now",
    ),
    reason(0x9D, "server moved", "the broker has another address now"),
    reason(0x9E, "shared subscriptions not supported", ""),
    reason(0x9F, "connection rate exceeded", ""),
    reason(0xA0, "maximum connect time", ""),
    reason(0xA1, "subscription identifiers not supported", ""),
    reason(
        0xA2,
        "wildcard subscriptions not supported",
        "the broker takes no `+` and `#`",
    ),
];

/// MQTT 3.1.1, table 3.1.
const V311: &[ReasonCode] = &[
    reason(
        1,
        "unacceptable protocol version",
        "the broker speaks neither MQTT 5 nor 3.1.1",
    ),
    reason(
        2,
        "identifier rejected",
        "the broker does not take this client id",
    ),
    reason(3, "server unavailable", ""),
    reason(
        4,
        "bad user name or password",
        "check user name and password",
    ),
    reason(
        5,
        "not authorized",
        "check the broker's access list and the client's credentials",
    ),
];

fn describe(table: &[ReasonCode], code: u8, words: Option<&str>) -> String {
    let mut text = match table.iter().find(|reason| reason.code == code) {
        Some(ReasonCode { name, hint: "", .. }) => format!("{name} (0x{code:02X})"),
        Some(ReasonCode { name, hint, .. }) => format!("{name} (0x{code:02X}): {hint}"),
        None => format!("unknown reason (0x{code:02X})"),
    };
    if let Some(words) = words.filter(|words| !words.is_empty()) {
        text.push_str("; the broker says: ");
        text.push_str(&crate::words::line(words.trim(), 300));
    }
    text
}

/// Name, code in hex, hint, and the broker's own words (cut to 300 characters).
pub(super) fn describe_v5(code: u8, words: Option<&str>) -> String {
    describe(V5, code, words)
}

/// Name, code in hex and hint of a 3.1.1 CONNACK.
pub(super) fn describe_v311(code: u8) -> String {
    describe(V311, code, None)
}

/// Whether someone must act before a v5 CONNECT with this answer can succeed.
pub(super) fn connect_failure_v5(code: u8) -> FailureKind {
    match code {
        0x84..=0x87 | 0x8A | 0x8C | 0x90 | 0x95 | 0x99..=0x9B | 0x9D => FailureKind::Refused,
        _ => FailureKind::Passing,
    }
}

/// The same for 3.1.1: 3 is "unavailable", the rest will not change by itself.
pub(super) fn connect_failure_v311(code: u8) -> FailureKind {
    if code == 3 {
        FailureKind::Passing
    } else {
        FailureKind::Refused
    }
}

/// The same for a DISCONNECT. A session taken over is met by coming back with back-off: whoever took it may be gone.
pub(super) fn disconnect_failure(code: u8) -> FailureKind {
    match code {
        0x87 | 0x8A | 0x9D => FailureKind::Refused,
        _ => FailureKind::Passing,
    }
}

/// Whether it is about how much was sent, or how fast.
pub(super) fn is_too_much(code: u8) -> bool {
    matches!(code, 0x96 | 0x97)
}

/// Whether the same message would be refused again.
///
/// Of the codes of PUBACK and PUBREC (MQTT 5, 3.4.2.1 and 3.5.2.1) these are 0x87, 0x90 and 0x99; the others that name a
/// property of the message or a rate belong to DISCONNECT, and some brokers send them here all the same. 0x91, 0x96 and 0x97 pass; 0x80,
/// 0x83 and what the standard does not know may mean either: time tells.
pub(super) fn refusal(code: u8) -> BrokerRefusal {
    match code {
        0x87 | 0x90 | 0x95 | 0x99..=0x9B => BrokerRefusal::Final,
        _ if is_too_much(code) => BrokerRefusal::Quota,
        _ => BrokerRefusal::Busy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_name_code_and_hint() {
        assert_eq!(
            describe_v5(0x8E, None),
            "session taken over (0x8E): another client connected with the same client id: give each its own"
        );
        assert_eq!(
            describe_v5(0x89, Some("later\n")),
            "server busy (0x89); the broker says: later"
        );
        assert_eq!(describe_v5(0xFE, None), "unknown reason (0xFE)");
        assert_eq!(
            describe_v311(4),
            "bad user name or password (0x04): check user name and password"
        );
    }

    #[test]
    fn quota_passes_and_rights_do_not() {
        let all = |codes: &[u8], kind| codes.iter().all(|code| refusal(*code) == kind);
        assert!(all(
            &[0x87, 0x90, 0x95, 0x99, 0x9A, 0x9B],
            BrokerRefusal::Final
        ));
        assert!(all(&[0x80, 0x83, 0x91, 0xB0], BrokerRefusal::Busy));
        assert!(all(&[0x96, 0x97], BrokerRefusal::Quota));
        assert_eq!(connect_failure_v5(0x86), FailureKind::Refused);
        assert_eq!(connect_failure_v5(0x88), FailureKind::Passing);
    }
}
