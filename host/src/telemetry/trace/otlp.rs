//! Spans as OTLP has them in JSON: names in camel case, ids in hexadecimal, 64-bit numbers as texts, enumerations by number.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::settings::CollectorSettings;
use super::span::{Attribute, TraceSpan};
use crate::clock::{Now, Uptime};

/// `status.code` of a span that came to no good end.
const ERROR: u8 = 2;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: Resource<'a>,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: Vec<KeyValue<'a>>,
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: SpanScope,
    spans: Vec<WrittenSpan<'a>>,
}

#[derive(Serialize)]
struct SpanScope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenSpan<'a> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    trace_state: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    name: &'a str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<KeyValue<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<[Link; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<SpanStatus>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Link {
    trace_id: String,
    span_id: String,
}

#[derive(Serialize)]
struct SpanStatus {
    code: u8,
}

#[derive(Serialize)]
struct KeyValue<'a> {
    key: &'a str,
    value: AnyValue<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum AnyValue<'a> {
    StringValue(&'a str),
    IntValue(String),
}

/// What a collector may answer to a request that it took.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TakenAnswer {
    partial_success: PartialSuccess,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PartialSuccess {
    rejected_spans: Option<serde_json::Value>,
    error_message: String,
}

/// The body of a request with these spans, by the clocks `now`.
pub(super) fn body(collector: &CollectorSettings, spans: &[TraceSpan], now: Now) -> Vec<u8> {
    let texts = [
        ("service.name", "tidegate"),
        ("service.instance.id", &*collector.gateway),
        ("service.version", env!("CARGO_PKG_VERSION")),
    ];
    let attributes = texts.map(|(key, text)| KeyValue {
        key,
        value: AnyValue::StringValue(text),
    });
    let scope = SpanScope {
        name: "tidegate",
        version: env!("CARGO_PKG_VERSION"),
    };
    let request = Request {
        resource_spans: [ResourceSpans {
            resource: Resource {
                attributes: attributes.into(),
            },
            scope_spans: [ScopeSpans {
                scope,
                spans: spans.iter().map(|span| written(span, now)).collect(),
            }],
        }],
    };
    // Texts and numbers only: that cannot fail.
    serde_json::to_vec(&request).unwrap_or_default()
}

fn written(span: &TraceSpan, now: Now) -> WrittenSpan<'_> {
    let attributes = span.attributes.iter().map(|(key, attribute)| KeyValue {
        key,
        value: match attribute {
            Attribute::Text(text) => AnyValue::StringValue(text),
            Attribute::Name(name) => AnyValue::StringValue(name),
            Attribute::Number(number) => AnyValue::IntValue(number.to_string()),
        },
    });
    let unset = (!now.is_set()).then_some(KeyValue {
        key: "tidegate.clock",
        value: AnyValue::StringValue("unset"),
    });
    WrittenSpan {
        trace_id: format!("{:032x}", span.trace.0),
        span_id: format!("{:016x}", span.id.0),
        trace_state: String::from_utf8_lossy(&span.state),
        parent_span_id: span.parent.map(|parent| format!("{:016x}", parent.0)),
        name: &span.name,
        kind: span.kind as u8,
        start_time_unix_nano: nanoseconds(span.start, now),
        end_time_unix_nano: nanoseconds(span.end, now),
        attributes: attributes.chain(unset).collect(),
        links: span.link.map(|(trace, span)| {
            [Link {
                trace_id: format!("{:032x}", trace.0),
                span_id: format!("{:016x}", span.0),
            }]
        }),
        status: span.is_error.then_some(SpanStatus { code: ERROR }),
    }
}

/// The wall clock's nanoseconds at that moment, by what the clocks show now.
fn nanoseconds(at: Uptime, now: Now) -> String {
    let wall = now.wall.minus_us(now.uptime.us_since(at));
    (u128::from(wall.0) * 1_000).to_string()
}

/// How many spans a collector has turned away of those that it took, and its words for that.
pub(super) fn rejected(answer: &[u8]) -> (u64, String) {
    let TakenAnswer { partial_success } = serde_json::from_slice(answer).unwrap_or_default();
    let count = match &partial_success.rejected_spans {
        Some(serde_json::Value::String(text)) => text.parse().unwrap_or_default(),
        Some(value) => value.as_u64().unwrap_or_default(),
        None => 0,
    };
    (count, partial_success.error_message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallTime;
    use crate::message::{SpanId, TraceId};
    use crate::telemetry::trace::SpanKind;

    fn collector() -> CollectorSettings {
        CollectorSettings {
            gateway: "barn-7".into(),
            host: "127.0.0.1".to_owned(),
            port: 4318,
            tls: None,
            path: String::new(),
            headers: Vec::new(),
        }
    }

    fn span() -> TraceSpan {
        TraceSpan {
            trace: TraceId(0xabc),
            id: SpanId(0xd),
            parent: Some(SpanId(0xe)),
            link: Some((TraceId(1), SpanId(2))),
            name: "plugin hot".into(),
            kind: SpanKind::Producer,
            start: Uptime(9_000_000),
            end: Uptime(9_000_250),
            attributes: vec![
                ("tidegate.flow", Attribute::Name("climate".into())),
                ("tidegate.outputs", Attribute::Number(2)),
            ],
            is_error: true,
            state: "a=b".into(),
        }
    }

    fn written_at(now: Now) -> serde_json::Value {
        let body: serde_json::Value =
            serde_json::from_slice(&body(&collector(), &[span()], now)).unwrap();
        body["resourceSpans"][0]["scopeSpans"][0]["spans"][0].clone()
    }

    #[test]
    fn a_span_is_written_as_the_standard_has_it() {
        let now = Now {
            wall: WallTime(1_800_000_000_000_000),
            uptime: Uptime(10_000_000),
        };
        let expected = serde_json::json!({
            "traceId": "00000000000000000000000000000abc",
            "spanId": "000000000000000d",
            "traceState": "a=b",
            "parentSpanId": "000000000000000e",
            "name": "plugin hot",
            "kind": 4,
            "startTimeUnixNano": "1799999999000000000",
            "endTimeUnixNano": "1799999999000250000",
            "attributes": [
                { "key": "tidegate.flow", "value": { "stringValue": "climate" } },
                { "key": "tidegate.outputs", "value": { "intValue": "2" } },
            ],
            "links": [{ "traceId": "00000000000000000000000000000001", "spanId": "0000000000000002" }],
            "status": { "code": 2 },
        });
        assert_eq!(written_at(now), expected);
    }

    #[test]
    fn while_the_clock_is_not_set_a_span_says_so() {
        let now = Now {
            wall: WallTime(60_000_000),
            uptime: Uptime(10_000_000),
        };
        let written = written_at(now);
        let last = written["attributes"].as_array().unwrap().last().unwrap();
        assert_eq!(last["key"], "tidegate.clock");
        assert_eq!(last["value"]["stringValue"], "unset");
    }

    #[test]
    fn what_a_collector_turned_away_is_read_in_either_form_and_nonsense_is_nothing() {
        let text = br#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old"}}"#;
        assert_eq!(rejected(text), (3, "too old".to_owned()));
        let number = br#"{"partialSuccess":{"rejectedSpans":4}}"#;
        assert_eq!(rejected(number), (4, String::new()));
        for nothing in [&b""[..], b"{}", b"<html>", br#"{"partialSuccess":7}"#] {
            assert_eq!(rejected(nothing).0, 0);
        }
    }
}
