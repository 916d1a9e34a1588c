//! The spans of a flow's plugins: one for each plugin that a traced message went through.

use std::sync::Arc;

use crate::clock::Uptime;
use crate::message::{Message, PluginRef, SpanId, TracePlace, short_digest};
use crate::telemetry::trace::{Attribute, SpanKind, TraceSpan, Tracer, new_span};

use super::lane::item::Item;

/// The traces of what one flow carries.
pub(super) struct FlowTrace {
    tracer: Tracer,
    flow: Arc<str>,
}

/// A traced message that a plugin has in hand.
pub(super) struct PluginTurn {
    before: Arc<TracePlace>,
    id: SpanId,
    start: Uptime,
    outputs: i64,
    verdict: Option<&'static str>,
    is_error: bool,
}

/// Where a message is after a plugin's turn.
#[derive(Clone, Copy, Debug)]
pub(super) enum PluginFate {
    /// It goes on, or leaves.
    Goes,
    /// It waits until the plugin does its work.
    Held,
    /// It became a dead letter, for this reason.
    Parked(&'static str),
}

impl FlowTrace {
    pub(super) fn new(flow: &Arc<str>, tracer: Tracer) -> Self {
        let flow = Arc::clone(flow);
        Self { tracer, flow }
    }

    /// A plugin is about to have these; `now` is read where one is traced. What comes of one is behind its turn.
    pub(super) fn begin(&self, items: &mut [Item], now: impl Fn() -> Uptime) -> Vec<PluginTurn> {
        let mut turns = Vec::new();
        if !self.tracer.is_on() {
            return turns;
        }
        let mut started = None;
        for item in items {
            let Some(place) = &item.message.trace else {
                continue;
            };
            let start = *started.get_or_insert_with(&now);
            let id = new_span();
            let before = Arc::clone(place);
            item.message.trace = Some(before.behind(id, start));
            turns.push(PluginTurn {
                before,
                id,
                start,
                outputs: 0,
                verdict: None,
                is_error: false,
            });
        }
        turns
    }

    /// The plugin has had its turn; `after` are the messages there are now, those that came of others among them.
    pub(super) fn end<'m>(
        &self,
        mut turns: Vec<PluginTurn>,
        after: impl Iterator<Item = (&'m Message, PluginFate)>,
        plugin: &PluginRef,
        end: Uptime,
    ) {
        for (message, verdict) in after {
            if let Some(place) = &message.trace
                && let Some(turn) = turns.iter_mut().find(|turn| turn.id == place.span)
            {
                turn.came_to(verdict);
            }
        }
        for turn in turns {
            self.tracer.record(self.span(turn, plugin, end));
        }
    }

    fn span(&self, turn: PluginTurn, plugin: &PluginRef, end: Uptime) -> TraceSpan {
        let verdict = turn.verdict.unwrap_or("filtered");
        TraceSpan {
            trace: turn.before.trace,
            id: turn.id,
            parent: Some(turn.before.span),
            link: None,
            name: format!("plugin {}", plugin.name).into(),
            kind: SpanKind::Internal,
            start: turn.start,
            end,
            attributes: vec![
                ("tidegate.flow", Attribute::Name(Arc::clone(&self.flow))),
                ("tidegate.plugin", Attribute::Name(Arc::clone(&plugin.name))),
                (
                    "tidegate.plugin.version",
                    Attribute::Text(short_digest(&plugin.digest).to_owned().into()),
                ),
                ("tidegate.verdict", Attribute::Text(verdict.into())),
                ("tidegate.outputs", Attribute::Number(turn.outputs)),
            ],
            is_error: turn.is_error,
            state: turn.before.state.clone(),
        }
    }
}

impl PluginTurn {
    fn came_to(&mut self, verdict: PluginFate) {
        match verdict {
            PluginFate::Goes => {
                self.outputs += 1;
                self.verdict.get_or_insert("passed");
            }
            PluginFate::Held => self.verdict = Some("held"),
            PluginFate::Parked(reason) => {
                self.verdict = Some(reason);
                self.is_error = true;
            }
        }
    }
}
