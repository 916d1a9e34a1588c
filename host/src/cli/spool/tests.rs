use super::*;
use crate::spool::Content;

#[test]
fn a_message_is_shown_in_two_lines_that_fit() {
    let content = Content {
        topic: "devices/".repeat(20),
        text: Some("x\n".repeat(90)),
        ..Content::default()
    };
    let text = shown(&Record {
        queue: "cloud:telemetry".into(),
        seq: 1,
        content,
    });
    assert_eq!(text.lines().count(), 2);
    assert!(
        text.lines().all(|line| line.chars().count() <= WIDTH),
        "{text}"
    );
    let binary = Content {
        topic: "a".into(),
        payload: Some("/w==".into()),
        ..Content::default()
    };
    assert!(
        shown(&Record {
            content: binary,
            ..Record::default()
        })
        .contains("no text")
    );
}
