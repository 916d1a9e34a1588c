use super::*;
use crate::spool::RecordContent;

fn letter() -> Letter {
    Letter {
        id: "3-17".into(),
        reason: "poison".into(),
        detail: "trap: unreachable\n0: rule\nlast lines of the plugin:\nboom \x1b[2J".into(),
        plugin: Some("decode-json".into()),
        plugin_digest: Some("0123456789abcdef".repeat(4)),
        parked: "2026-11-21T06:26:11.123Z".into(),
        content: RecordContent {
            flow: "climate".into(),
            topic: "devices/d1/".repeat(9),
            text: Some("{}".into()),
            ..RecordContent::default()
        },
        ..Letter::default()
    }
}

#[test]
fn a_letter_of_the_list_has_two_lines_that_fit() {
    let text = line(&letter(), WIDTH);
    assert!(
        text.starts_with(
            "3-17     2026-11-21 06:26:11  poison    climate/decode-json\n         devices/d1/"
        ),
        "{text}"
    );
    assert!(
        text.lines().count() == 2 && text.lines().all(|line| line.chars().count() <= WIDTH),
        "{text}"
    );
}

#[test]
fn a_letter_in_full_has_the_whole_hash_trace_and_last_words_and_nothing_a_terminal_obeys() {
    let text = full(&letter());
    for part in [
        &*"0123456789abcdef".repeat(4),
        "0: rule",
        "boom",
        "climate",
        "devices/d1/",
        "{}",
    ] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    assert!(!text.contains('\x1b'));
}
