//! What is told of a device that is another than it was.

use bytes::Bytes;
use serde_json::json;

use super::device::{DeviceState, KnownDevice, Moment};
use super::register::Register;
use super::settings::RegisterNeeds;
use crate::clock::Now;
use crate::message::{Append, Delivery, Destination, Marks, Message, Qos, Span, legal};

/// Events of one look, at most: what is left follows with the next ones, so that a flood of names is no flood of events.
const MOST: usize = 500;

/// What an event says, as upstream has it. `before` is what the last one said of the device in this run.
fn payload(
    (name, device): (&str, &KnownDevice),
    (version, before): (u64, DeviceState),
    now: Now,
) -> Vec<u8> {
    let since = device.since.unwrap_or_else(|| Moment::of(now));
    let at = since.seen_from(now);
    let mut event = json!({
        "device": name,
        "state": device.state.name(),
        "before": before.name(),
        "why": device.cause.name(),
        "version": version,
        "ts": at.wall.0,
        "source": shown_source(&device.source),
    });
    if !at.is_set {
        event["clock"] = "unset".into();
    }
    event.to_string().into_bytes()
}

/// The source in the config: a connection of its own for priority is none.
pub(super) fn shown_source(name: &str) -> &str {
    name.split(':').next().unwrap_or(name)
}

/// Makes the events that are due, as far as there is room for them.
pub(super) fn tell(register: &mut Register, needs: &RegisterNeeds, now: Now) -> u64 {
    let Some(config) = register.config.clone() else {
        return 0;
    };
    if config.events.is_empty() || !has_room(&config.events, needs) {
        return 0;
    }
    let mut messages = Vec::new();
    for name in register.untold(MOST) {
        let Ok(text) = str::from_utf8(&name) else {
            continue;
        };
        let Some((version, before, device)) = register.tell(&name) else {
            continue;
        };
        let topic = config.topic.replace("{device}", text);
        // A name may be as long as the longest topic.
        if legal::check_topic(topic.as_bytes()).is_err() {
            continue;
        }
        let payload = payload((text, device), (version, before), now);
        messages.push(Message {
            id: needs.mint.take(1),
            topic: Bytes::from(topic),
            key: Span::default(),
            device: Some(name.into()),
            payload: Bytes::from(payload),
            marks: Marks::of(Qos::AtLeastOnce).with(Marks::CLOCK_UNSET, !now.is_set()),
            received: now.wall,
            uptime: now.uptime,
            ..Message::default()
        });
    }
    let count = messages.len() as u64;
    if count > 0 {
        hand_on(messages, &config.events, needs);
    }
    count
}

fn has_room(events: &[Destination], needs: &RegisterNeeds) -> bool {
    events.iter().all(|to| match to {
        Destination::Queue(_) => needs.outlet.has_room(),
        Destination::Flow(name) => needs.flows.flow(name).has_room(),
    })
}

fn hand_on(messages: Vec<Message>, events: &[Destination], needs: &RegisterNeeds) {
    for to in events {
        let messages = messages.iter().cloned();
        match to {
            Destination::Queue(queue) => {
                let append = |message| Append {
                    queue: *queue,
                    message,
                    receipt: None,
                };
                needs.outlet.append(messages.map(append).collect());
            }
            Destination::Flow(name) => {
                let delivery = |message| Delivery {
                    message,
                    receipt: None,
                };
                needs
                    .flows
                    .flow(name)
                    .deliver(messages.map(delivery).collect());
            }
        }
    }
}
