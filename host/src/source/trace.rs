//! Where a message's trace begins: which of those that come in are traced, and the span of their arrival.

use std::sync::Arc;

use crate::clock::Now;
use crate::message::{ForeignTrace, Message, TracePlace};
use crate::telemetry::trace::{Attribute, SpanKind, TraceSpan, Tracer, new_span, text};

/// The traces of what one source takes.
pub(super) struct SourceTrace {
    tracer: Tracer,
    source: Arc<str>,
    /// The protocol, as spans name it.
    kind: &'static str,
}

impl SourceTrace {
    /// Of the source of this name, which speaks `kind`.
    pub(super) fn new(source: &Arc<str>, kind: &'static str, tracer: Tracer) -> Self {
        let source = Arc::clone(source);
        Self {
            tracer,
            source,
            kind,
        }
    }

    /// Whether anything is traced.
    pub(super) fn is_on(&self) -> bool {
        self.tracer.is_on()
    }

    /// `message` goes into `flow`. Where its device is traced, or its sender keeps its trace, its place is in it from here on.
    pub(super) fn begin(&self, message: &mut Message, flow: &Arc<str>) {
        let foreign = if message.headers.is_empty() {
            None
        } else {
            ForeignTrace::of(&message.headers)
        };
        let key = message.key();
        let device = if key.is_empty() { &message.topic } else { key };
        let is_kept = || {
            let is_sampled = foreign.as_ref().is_some_and(|foreign| foreign.is_sampled);
            is_sampled && self.tracer.takes_foreign(message.uptime)
        };
        if !self.tracer.takes(device) && !is_kept() {
            return;
        }
        let (trace, parent, state) = match foreign {
            Some(foreign) => (foreign.trace, Some(foreign.span), foreign.state),
            None => (self.tracer.trace_of(message.id), None, Default::default()),
        };
        let id = new_span();
        let end = Now::read().uptime;
        self.tracer.record(TraceSpan {
            trace,
            id,
            parent,
            link: None,
            name: "receive".into(),
            kind: SpanKind::Consumer,
            start: message.uptime,
            end,
            attributes: vec![
                ("messaging.system", Attribute::Text(self.kind.into())),
                ("messaging.destination.name", text(&message.topic)),
                (
                    "messaging.message.body.size",
                    Attribute::Number(size(message)),
                ),
                ("tidegate.source", Attribute::Name(Arc::clone(&self.source))),
                ("tidegate.flow", Attribute::Name(Arc::clone(flow))),
                ("tidegate.device", text(key)),
            ],
            is_error: false,
            state: state.clone(),
        });
        message.trace = Some(Arc::new(TracePlace {
            trace,
            span: id,
            since: end,
            state,
        }));
    }
}

fn size(message: &Message) -> i64 {
    i64::try_from(message.payload.len()).unwrap_or(i64::MAX)
}
