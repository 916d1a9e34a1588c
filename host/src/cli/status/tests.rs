use super::*;
use crate::gateway::api::plugins::CandidateStatus;
use crate::gateway::api::status::{DeadLetters, PluginStatus, ProcessStatus, StoreStatus};

#[expect(
    clippy::too_many_lines,
    reason = "data: every field has a value that shows"
)]
pub(in crate::cli) fn busy() -> Status {
    let digest = "0123456789abcdef".repeat(4);
    let plugin = |name: &str, swapping: bool| PluginStatus {
        name: name.into(),
        digest: digest.clone(),
        swapping,
        candidate: swapping.then(|| CandidateStatus {
            digest: digest.clone(),
            state: "on-probation".into(),
        }),
        fallback: Some(digest.clone()),
        differs_from_config: swapping,
        breaker: "closed".to_owned(),
        ..PluginStatus::default()
    };
    let condition = |kind: &str, next_try_s| ConditionStatus {
        kind: kind.to_owned(),
        words: format!("5 messages: {kind}: {}", "not authorized (0x87) ".repeat(9)),
        own: String::new(),
        messages: 5,
        since_s: 61,
        next_try_s,
    };
    let queue = |name: &str, on_disk| QueueStatus {
        name: name.into(),
        in_ram: 12,
        on_disk,
        ram_bytes: 3_000,
        disk_bytes: on_disk * 40,
        limit_bytes: Some(1 << 30),
        full_in_s: None,
        oldest_age_s: Some(90_061),
        appended: 1_234_567_890,
        accepted: 1_234_000_000,
        dropped: 3,
        damaged: 4,
        full: true,
    };
    Status {
        running: true,
        name: "barn-7".into(),
        version: "0.1.0".into(),
        data_dir: "/var/lib/tidegate".into(),
        boot: 12,
        config: Default::default(),
        process: Some(ProcessStatus { pid: 4_711, uptime_s: 532_800, resident_bytes: 25 << 20, memory_limit_bytes: 512 << 20 }),
        sources: vec![SourceStatus {
            name: "field".into(),
            state: "online".into(),
            connected: true,
            trouble: None,
            conditions: vec![condition("client-id-taken-over", None)],
            unsettled: 3,
            received: 1_204,
            dropped: 1,
            refused_filters: 2,
            lowered_filters: 1,
            session_s: 60,
        }],
        flows: vec![FlowStatus {
            name: "a-flow-with-a-name-that-is-long".into(),
            messages_in: 1_234_567_890,
            messages_out: 1_234_567_890,
            filtered: 100,
            absorbed: 7,
            rejected: 4,
            dropped: 0,
            quarantined: 0,
            waiting: 5,
            down: None,
            bytes_in: 0,
            bytes_out: 0,
            from: Vec::new(),
            to: Vec::new(),
            plugins: vec![plugin("decode-json", false), plugin("threshold", true)],
        }],
        queues: vec![queue("cloud:telemetry", 1_192_000), queue("cloud:alarm", 0)],
        uplinks: vec![UplinkStatus {
            name: "cloud".into(),
            state: "waiting".into(),
            connected: false,
            trouble: Some(TroubleStatus {
                cause: "the broker refused the connection: bad user name or password (0x86): check user name and password"
                    .into(),
                since_s: 3_700,
                next_try_s: Some(42),
                over_s: None,
            }),
            conditions: vec![condition("refuses-everything", Some(3))],
            on_fallback: false,
            failures: 6,
            inflight: 0,
            forwarded: 12,
            refused: 2,
        }],
        dead_letters: DeadLetters {
            kept: 4,
            bytes: 900,
            by_reason: [("rejected".to_owned(), 3), ("poison".to_owned(), 1)].into(),
            waiting: 1,
            evicted: 2,
        },
        given_up: [("quota-oldest".to_owned(), 13_385)].into(),
        store: StoreStatus {
            well: false,
            why: Some("the store cannot be written".into()),
            commits: 3,
            written_bytes: 122_880,
            day_bytes: 122_880,
            last_write_age_s: Some(61),
            free_bytes: 12 << 30,
            lasts_s: Some(19 * 86_400),
            ram_bytes: 400 << 20,
            most_ram_bytes: 384 << 20,
            damaged_store: None,
            lost: Some("the disk has lost 2 dead letters".to_owned()),
            strangers: [("old:debug".to_owned(), 17)].into(),
        },
        crashes: vec![Crash {
            at: "2026-11-22T01:02:03.004Z".into(),
            thread: "writer".into(),
            place: "host/src/spool/writer/mod.rs:7:9".into(),
            what: "index out of bounds".into(),
            ..Crash::default()
        }],
        traces: None,
    }
}

#[test]
fn a_trouble_that_is_over_is_told_as_such() {
    let mut status = busy();
    let trouble = status.uplinks[0].trouble.as_mut().unwrap();
    (trouble.next_try_s, trouble.over_s) = (None, Some(4));
    let shown = text(&status);
    assert!(
        shown.contains("until 4 s ago") && !shown.contains("tried now"),
        "{shown}"
    );
}

#[test]
fn nothing_is_wider_than_a_terminal_and_nothing_is_left_out() {
    let shown = text(&busy());
    assert!(
        shown.lines().all(|line| line.chars().count() <= WIDTH),
        "{shown}"
    );
    for part in [
        "barn-7 runs for 6 d 4 h",
        "field",
        "online",
        "3 unsettled",
        "topic filters REFUSED: 2",
        "with a lower level: 1",
        "session ends after 60 s away",
        "└ decode-json",
        "0123456789ab",
        "0123456789ab is tried beside it: on-probation",
        "0123456789ab can come back",
        "not what the config says",
        "cloud:telemetry",
        "1,192,000 on disk (45 MiB)",
        "oldest 1 d 1 h",
        "1,234,567,890 appended",
        "full",
        "3 dropped",
        "4 damaged",
        "waiting",
        "6 failures",
        "for 1 h 1 min, next try in 42 s",
        "(0x86):",
        "for 1 min 1 s: 5 messages: client-id-taken-over:",
        "for 1 min 1 s, next try in 3 s: 5 messages: refuses-everything:",
        "3 rejected",
        "1 poison",
        "NOT WELL",
        "the store cannot be written",
        "the disk has lost 2 dead letters",
        "old:debug",
        "FULL",
        "400 MiB of messages",
        "25 MiB",
    ] {
        assert!(shown.contains(part), "`{part}` is not in\n{shown}");
    }
}

#[test]
fn a_gateway_that_is_cut_off_or_whose_store_is_not_well_does_not_end_with_0() {
    let mut status = busy();
    status.store.well = true;
    assert_eq!(exit_of(&status), Exit::Degraded);
    status.uplinks[0].connected = true;
    assert_eq!(exit_of(&status), Exit::Degraded);
    status.uplinks[0].on_fallback = true;
    assert_eq!(exit_of(&status), Exit::Done);
    status.store.well = false;
    assert_eq!(exit_of(&status), Exit::Degraded);
    assert_eq!(
        exit_of(&Status {
            running: false,
            ..status
        }),
        Exit::Done
    );
}

#[test]
fn a_stopped_gateway_is_told_apart_in_the_first_line() {
    let stopped = Status {
        running: false,
        process: None,
        ..busy()
    };
    assert!(text(&stopped).starts_with("barn-7 does not run; this is what its files say\n"));
}
