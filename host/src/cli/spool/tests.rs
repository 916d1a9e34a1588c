use super::*;
use crate::spool::RecordContent;

#[test]
fn a_message_is_shown_in_two_lines_that_fit() {
    let content = RecordContent {
        topic: "devices/".repeat(20),
        text: Some("x\n".repeat(90)),
        ..RecordContent::default()
    };
    let text = shown(&QueueRecord {
        queue: "cloud:telemetry".into(),
        seq: Seq(1),
        content,
    });
    assert_eq!(text.lines().count(), 2);
    assert!(
        text.lines().all(|line| line.chars().count() <= WIDTH),
        "{text}"
    );
    let binary = RecordContent {
        topic: "a".into(),
        payload: Some("/w==".into()),
        ..RecordContent::default()
    };
    assert!(
        shown(&QueueRecord {
            content: binary,
            ..QueueRecord::default()
        })
        .contains("no text")
    );
}
