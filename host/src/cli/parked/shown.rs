//! How a dead letter is shown: in a line, and in full.

use super::TOPIC;
use crate::cli::show::{WIDTH, moment};
use crate::message::short_digest;
use crate::spool::Letter;
use crate::words;

/// A letter in two lines.
pub(super) fn line(letter: &Letter, width: usize) -> String {
    let Letter {
        id,
        reason,
        content,
        ..
    } = letter;
    let place = match (&letter.plugin, &letter.queue) {
        (Some(plugin), _) => format!("{}/{plugin}", content.flow),
        (None, Some(queue)) => queue.clone(),
        (None, None) => content.flow.clone(),
    };
    let parked = moment(&letter.parked);
    let head = format!("{id:<8} {parked}  {reason:<8}  {place}");
    let why = format!(
        "{}: {}",
        words::line(&content.topic, if width == WIDTH { TOPIC } else { width }),
        letter.detail.lines().next().unwrap_or_default()
    );
    format!(
        "{}\n         {}",
        words::line(&head, width),
        words::line(&why, width - 9)
    )
}

pub(super) fn full(letter: &Letter) -> String {
    let content = &letter.content;
    let mut lines = vec![format!("dead letter {}", letter.id)];
    let mut add = |label: &str, value: &str| {
        lines.push(format!("  {label:<10} {}", words::line(value, 4_096)))
    };
    add("reason", &letter.reason);
    add("flow", &content.flow);
    if let (Some(plugin), Some(digest)) = (&letter.plugin, &letter.plugin_digest) {
        add("plugin", &format!("{plugin} {}", short_digest(digest)));
        add("sha256", digest);
    }
    if let Some(queue) = &letter.queue {
        add("queue", queue);
    }
    add("topic", &content.topic);
    add("received", &moment(&content.received));
    add("parked", &moment(&letter.parked));
    add(
        "message",
        &format!(
            "{}-{}, QoS {}{}",
            content.boot,
            content.number,
            content.qos,
            if content.retain { ", retained" } else { "" }
        ),
    );
    for (name, value) in &content.headers {
        add("header", &format!("{name}: {value}"));
    }
    let indented = |text: &str| {
        words::lines(text, words::LONG)
            .lines()
            .map(|line| format!("    {line}"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    lines.push(format!("  why\n{}", indented(&letter.detail)));
    let title = if letter.reason == "too-long" {
        "payload (its head)"
    } else {
        "payload"
    };
    lines.push(match (&content.text, &content.payload) {
        (Some(text), _) => format!("  {title}\n{}", indented(text)),
        (None, payload) => format!(
            "  {title}, base64, since it is no text\n    {}",
            payload.as_deref().unwrap_or_default()
        ),
    });
    lines.join("\n")
}
