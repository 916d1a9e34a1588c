//! The spans of what goes upstream: of the time a traced message waited in the spool, and of each time it was sent. What was on
//! disk begins a trace of its own, with a link to the one in which it came: that may be a month old.

use std::collections::HashMap;
use std::sync::Arc;

use crate::clock::{Now, Uptime};
use crate::message::{ForeignTrace, Marks, Message, SpanId, Stored, TraceId, TracePlace, key_hash};
use crate::telemetry::trace::{Attribute, SpanKind, TraceSpan, Tracer, new_span, new_trace, text};
use crate::uplink::Config;
use crate::uplink::carrier::Refusal;
use crate::uplink::form::encode::Encoded;

/// Characters of what upstream names its answer by.
const CODE: usize = 12;

/// A message on its way upstream.
#[derive(Debug)]
pub(super) struct OpenSend {
    place: TracePlace,
    parent: Option<SpanId>,
    link: Option<(TraceId, SpanId)>,
    /// Since when it waited in the spool, and the span of that, if it never left RAM.
    stored: Option<(Uptime, SpanId, SpanId)>,
    start: Uptime,
    attributes: Vec<(&'static str, Attribute)>,
}

/// The traces of what one uplink sends.
pub(super) struct SendTrace {
    tracer: Tracer,
    uplink: Arc<str>,
    kind: &'static str,
    /// Number of this run.
    boot: u32,
    /// By the token of the publish.
    open: HashMap<u64, Vec<OpenSend>>,
}

impl SendTrace {
    /// Of this uplink, in the run of this number. In a box, since futures hold it.
    pub(super) fn of(config: &Config, tracer: &Tracer, boot: u32) -> Box<Self> {
        Box::new(Self {
            tracer: tracer.clone(),
            uplink: Arc::clone(&config.name),
            kind: config.kind.facts().name,
            boot,
            open: HashMap::new(),
        })
    }

    /// A publish with these messages is about to go out: the first that is traced says in `encoded` behind which span.
    pub(super) fn begin<'m>(
        &self,
        messages: impl Iterator<Item = &'m Stored>,
        encoded: &mut Encoded,
        now: Now,
    ) -> Vec<OpenSend> {
        let mut begun = Vec::new();
        if !self.tracer.is_on() {
            return begun;
        }
        let traced = messages.filter(|stored| stored.message.marks.has(Marks::TRACED));
        for stored in traced {
            let Some(send) = self.open_send(stored, now) else {
                continue;
            };
            if begun.is_empty() {
                encoded.headers = send.place.put_into(&encoded.headers);
            }
            begun.push(send);
        }
        begun
    }

    fn open_send(&self, stored: &Stored, now: Now) -> Option<OpenSend> {
        let message = &stored.message;
        let id = new_span();
        let mut attributes = vec![
            ("messaging.system", Attribute::Text(self.kind.into())),
            ("messaging.destination.name", text(&message.topic)),
            ("tidegate.uplink", Attribute::Name(Arc::clone(&self.uplink))),
        ];
        if let Some(place) = &message.trace {
            // However often it is sent, it waited once.
            let waited = SpanId(place.span.0 ^ key_hash(self.uplink.as_bytes()) ^ stored.seq.0 | 1);
            return Some(OpenSend {
                place: TracePlace {
                    span: id,
                    ..TracePlace::clone(place)
                },
                parent: Some(waited),
                link: None,
                stored: Some((place.since, waited, place.span)),
                start: now.uptime,
                attributes,
            });
        }
        let before = ForeignTrace::of(&message.headers)?;
        if let Some(owed) = self.owed_us(message, now) {
            attributes.push(("tidegate.owed_us", Attribute::Number(owed)));
        }
        Some(OpenSend {
            place: TracePlace {
                trace: new_trace(),
                span: id,
                since: now.uptime,
                state: before.state,
            },
            parent: None,
            link: Some((before.trace, before.span)),
            stored: None,
            start: now.uptime,
            attributes,
        })
    }

    /// How long it was owed, microseconds; `None` where a clock that was not set keeps that from being known.
    fn owed_us(&self, message: &Message, now: Now) -> Option<i64> {
        let is_known = now.is_set() && !message.marks.has(Marks::CLOCK_UNSET);
        let owed = if message.id.boot == self.boot {
            now.uptime.checked_us_since(message.uptime)
        } else {
            now.wall
                .checked_us_since(message.received)
                .filter(|_| is_known)
        };
        i64::try_from(owed?).ok()
    }

    /// They went out under this token, or never can.
    pub(super) fn sent(&mut self, token: u64, begun: Vec<OpenSend>, is_out: bool) {
        if begun.is_empty() {
            return;
        }
        if is_out {
            self.open.insert(token, begun);
        } else {
            self.end(begun, ("unsendable", ""), Now::read().uptime);
        }
    }

    /// Upstream has what went out under this token.
    pub(super) fn accepted(&mut self, token: u64, now: Now) {
        if self.open.is_empty() {
            return;
        }
        if let Some(sends) = self.open.remove(&token) {
            self.end(sends, ("accepted", ""), now.uptime);
        }
    }

    /// It does not take that, in its words.
    pub(super) fn refused(&mut self, token: u64, kind: Refusal, said: &str, now: Now) {
        if self.open.is_empty() {
            return;
        }
        let verdict = match kind {
            Refusal::Final => "refused",
            Refusal::Busy => "busy",
            Refusal::Quota => "quota",
            Refusal::Limit | Refusal::Unfit => "unsendable",
            Refusal::Untried => "untried",
        };
        if let Some(sends) = self.open.remove(&token) {
            self.end(sends, (verdict, code(said)), now.uptime);
        }
    }

    /// The connection has ended: what has no answer is sent again.
    pub(super) fn released(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let end = Now::read().uptime;
        let open = std::mem::take(&mut self.open);
        for sends in open.into_values() {
            self.end(sends, ("unanswered", ""), end);
        }
    }

    fn end(&self, sends: Vec<OpenSend>, (verdict, code): (&'static str, &str), end: Uptime) {
        let has_arrived = verdict == "accepted";
        for send in sends {
            if let Some(waited) = send.waited(&self.uplink).filter(|_| has_arrived) {
                self.tracer.record(waited);
            }
            let mut attributes = send.attributes;
            attributes.push(("tidegate.verdict", Attribute::Text(verdict.into())));
            if !code.is_empty() {
                attributes.push(("tidegate.code", text(code.as_bytes())));
            }
            self.tracer.record(TraceSpan {
                trace: send.place.trace,
                id: send.place.span,
                parent: send.parent,
                link: send.link,
                name: "send".into(),
                kind: SpanKind::Producer,
                start: send.start,
                end,
                attributes,
                is_error: !has_arrived,
                state: send.place.state,
            });
        }
    }
}

impl OpenSend {
    /// The span of its time in the spool, if it never left RAM.
    fn waited(&self, uplink: &Arc<str>) -> Option<TraceSpan> {
        let (since, id, parent) = self.stored?;
        Some(TraceSpan {
            trace: self.place.trace,
            id,
            parent: Some(parent),
            link: None,
            name: "store".into(),
            kind: SpanKind::Internal,
            start: since,
            end: self.start,
            attributes: vec![("tidegate.uplink", Attribute::Name(Arc::clone(uplink)))],
            is_error: false,
            state: self.place.state.clone(),
        })
    }
}

/// What upstream names its answer by, such as a status: its first word, where that has a digit.
fn code(said: &str) -> &str {
    let word = said.split([' ', ':']).next().unwrap_or_default();
    let is_code = word.len() <= CODE
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && word.bytes().any(|byte| byte.is_ascii_digit());
    if is_code { word } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallTime;
    use crate::message::MessageId;

    #[test]
    fn what_upstream_names_its_answer_by_is_its_first_word_if_that_is_a_code() {
        assert_eq!(code("429 Too Many Requests: slow down"), "429");
        assert_eq!(code("42P01: no such table"), "42P01");
        assert_eq!(code("not authorized"), "");
        assert_eq!(code("\x1b[2J 7"), "");
        assert_eq!(code(&"9".repeat(400)), "");
    }

    #[test]
    fn how_long_a_message_was_owed_is_known_as_far_as_the_clocks_go() {
        let trace = SendTrace {
            tracer: Tracer::default(),
            uplink: "up".into(),
            kind: "mqtt",
            boot: 2,
            open: HashMap::new(),
        };
        let now = Now {
            wall: WallTime(1_800_000_000_000_000),
            uptime: Uptime(9_000_000),
        };
        let message = |boot, marks: Marks| Message {
            id: MessageId { boot, seq: 1 },
            received: now.wall.minus_us(5),
            uptime: Uptime(1_000_000),
            marks,
            ..Message::default()
        };
        let unset = Marks::default().with(Marks::CLOCK_UNSET, true);
        assert_eq!(trace.owed_us(&message(2, unset), now), Some(8_000_000));
        assert_eq!(trace.owed_us(&message(1, Marks::default()), now), Some(5));
        assert_eq!(trace.owed_us(&message(1, unset), now), None);
    }
}
