//! Invariants of `host/ARCHITECTURE.md` that show in the source text.

mod promises;
mod tested;
mod contract;
mod structure;
mod transport;
mod written;

use anyhow::Result;
use anyhow::ensure;
use libtest_mimic::Trial;
use tidegate_tests::cases;
use tidegate_tests::source_text::{Source, sources};

pub fn cases() -> Vec<Trial> {
    let mut cases = cases![
        the_stages_do_not_know_each_other,
        each_engine_is_named_in_one_place,
        a_place_in_a_queue_is_made_of_a_number_where_a_file_is_read_only,
        no_file_is_over_400_lines_of_production_code,
        no_folder_of_the_host_has_more_than_20_files,
        the_host_does_not_unwrap,
        only_main_exits,
        only_config_and_main_read_the_environment,
        the_wall_clock_is_read_in_one_place,
        the_chain_takes_its_time_from_the_clock_it_is_given,
        a_file_is_read_in_one_way,
        words_from_outside_are_cleaned_in_one_way,
        whose_a_file_is_is_looked_at_in_one_place,
        nobody_writes_to_standard_error_in_place,
        chain_and_spool_do_not_wait_asynchronously,
        what_takes_any_arrival_names_no_protocol,
        what_sends_does_not_know_what_is_spoken,
    ];
    cases.extend(promises::cases());
    cases.extend(contract::cases());
    cases.extend(structure::cases());
    cases.extend(tested::cases());
    cases.extend(transport::cases());
    cases.extend(written::cases());
    cases
}

/// What each part of the host may take from the others.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("message", &["clock"]),
    ("link", &["clock", "file"]),
    ("token", &["link", "clock", "words"]),
    ("mqtt", &["message", "link", "token", "clock", "words"]),
    ("nats", &["message", "link", "words"]),
    (
        "source",
        &[
            "message",
            "link",
            "mqtt",
            "nats",
            "clock",
            "file",
            "words",
            "telemetry",
        ],
    ),
    (
        "chain",
        &[
            "message",
            "clock",
            "builtin",
            "trust",
            "thread",
            "file",
            "words",
            "telemetry",
        ],
    ),
    ("spool", &["message", "clock", "thread", "file", "words"]),
    (
        "uplink",
        &[
            "message",
            "link",
            "token",
            "mqtt",
            "nats",
            "clock",
            "file",
            "words",
            "telemetry",
        ],
    ),
    (
        "recording",
        &["message", "clock", "thread", "file", "words"],
    ),
    ("admin", &["file", "link", "words"]),
];

fn complain(found: Vec<String>) -> Result<()> {
    ensure!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}

fn hits(sources: &[Source], word: &str, allowed: impl Fn(&str) -> bool) -> Vec<String> {
    let outside = sources.iter().filter(|source| !allowed(&source.path));
    outside
        .flat_map(|source| {
            source
                .lines_with(word)
                .into_iter()
                .map(move |line| format!("{}:{line}: `{word}`", source.path))
        })
        .collect()
}

/// Every `crate::` path in the folders of the stages.
/// Guarantee: a stage can be read, tested and replaced without the others; only `gateway` and `config` know all.
fn the_stages_do_not_know_each_other() -> Result<()> {
    let mut found = Vec::new();
    for (stage, may_know) in MAY_KNOW {
        for source in sources(&format!("host/src/{stage}"))? {
            let strange = |used: &String| used != stage && !may_know.contains(&used.as_str());
            found.extend(
                source
                    .modules_used()
                    .into_iter()
                    .filter(strange)
                    .map(|used| format!("{} uses `{used}`", source.path)),
            );
        }
    }
    complain(found)
}

/// Protocols by name below `uplink`, outside the one file or folder of each; `settings.rs` and `drain.rs` say which there are.
/// Guarantee: what is promised of an uplink holds for each of them, and one more is its own files and a table of its keys.
fn what_sends_does_not_know_what_is_spoken() -> Result<()> {
    // Each as its folder is called, and as it is named in code: a file may be spoken of.
    const PROTOCOLS: [(&str, &str); 7] = [
        ("mqtt", "mqtt"),
        ("http", "http"),
        ("file", "file::"),
        ("postgres", "postgres"),
        ("nats", "nats"),
        ("s3", "s3"),
        ("kafka", "kafka"),
    ];
    let uplink = sources("host/src/uplink")?;
    let is_of = |path: &str, protocol: &str| {
        let own = path.strip_prefix("host/src/uplink/");
        own.is_some_and(|own| {
            own == format!("{protocol}.rs") || own.starts_with(&format!("{protocol}/"))
        })
    };
    let mut found = Vec::new();
    for (protocol, named) in PROTOCOLS {
        let names = [
            named.to_owned(),
            format!("UplinkKind::{}", capitalised(protocol)),
        ];
        // Those that say which there are.
        let lists = ["mod", "settings", "drain"].map(|file| format!("host/src/uplink/{file}.rs"));
        let is_list = |path: &str| lists.iter().any(|list| list == path);
        let allowed = |path: &str| is_list(path) || is_of(path, protocol);
        found.extend(names.iter().flat_map(|name| hits(&uplink, name, allowed)));
    }
    // What both speak over a connection to a server.
    let speaks = |path: &str| ["http", "s3", "web"].iter().any(|own| is_of(path, own));
    found.extend(hits(&uplink, "hyper", speaks));
    complain(found)
}

fn capitalised(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_uppercase() + rest
}

/// Protocols in the files right in the folder of `source`, but for `mod.rs`, which chooses among them.
/// Guarantee: another way in is a folder of its own, and changes nothing of what all have in common.
fn what_takes_any_arrival_names_no_protocol() -> Result<()> {
    let core: Vec<Source> = sources("host/src/source")?
        .into_iter()
        .filter(|source| {
            let file = source.path.strip_prefix("host/src/source/");
            // Which of them a source speaks is among its settings.
            file.is_some_and(|file| {
                !file.contains('/') && !["mod.rs", "settings.rs"].contains(&file)
            })
        })
        .collect();
    ensure!(core.len() > 5, "the core of `source` is not where it was");
    let words = [
        "mqtt", "http", "coap", "hyper", "rumqttc", "modbus", "raw", "nats", "ticks",
    ];
    complain(
        words
            .iter()
            .flat_map(|word| hits(&core, word, |_| false))
            .collect(),
    )
}

/// The names of the big dependencies, over the whole host.
/// Guarantee: each can be replaced in one place.
fn each_engine_is_named_in_one_place() -> Result<()> {
    let host = sources("host/src")?;
    let mut found = hits(&host, "rumqttc", |path| {
        path.starts_with("host/src/mqtt/wire")
    });
    for engine in ["wasmtime", "wasmtime_wasi"] {
        found.extend(hits(&host, engine, |path| {
            path.starts_with("host/src/chain/")
        }));
    }
    found.extend(hits(&host, "sled", |path| {
        path == "host/src/spool/disk/index.rs"
    }));
    found.extend(hits(&host, "tokio_postgres", |path| {
        path.starts_with("host/src/uplink/postgres/")
    }));
    // The library that signs takes a moment of that one.
    let signs = "host/src/uplink/s3/sign.rs";
    found.extend(hits(&host, "rusty_s3", |path| path == signs));
    found.extend(hits(&host, "jiff", |path| {
        path == "host/src/source/ticks/rhythm.rs" || path == signs
    }));
    found.extend(hits(&host, "coap_lite", |path| {
        path == "host/src/source/coap/datagram.rs"
    }));
    found.extend(hits(&host, "mqtt5", |path| {
        path == "host/src/demo/broker.rs"
    }));
    complain(found)
}

/// `Seq` around a number below `spool`, outside the files that read one from disk.
/// Guarantee: a place comes from another place; no count of messages and no offset of a file can become one.
fn a_place_in_a_queue_is_made_of_a_number_where_a_file_is_read_only() -> Result<()> {
    let forms = [
        "chunk/mod.rs",
        "low_marks.rs",
        "queue_store/places.rs",
        "recover.rs",
    ]
    .map(|file| format!("host/src/spool/disk/{file}"));
    let spool = sources("host/src/spool")?;
    let of_file = |source: &Source| {
        let made = source.code.match_indices("Seq(").filter(|(at, _)| {
            let before = source.code[..*at].chars().next_back();
            !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
        });
        let name = |_| format!("{} makes a place of a number", source.path);
        made.map(name).collect::<Vec<_>>()
    };
    let found = spool.iter().filter(|source| !forms.contains(&source.path));
    complain(found.flat_map(of_file).collect())
}

/// Code lines without comments, blank lines and the tests at the end of a file.
/// Guarantee: every file can be held in one head.
fn no_file_is_over_400_lines_of_production_code() -> Result<()> {
    let mut found = Vec::new();
    for folder in [
        "host/src",
        "plugins",
        "tests/src",
        "tests/e2e",
        "tests/guests",
    ] {
        let long = |source: &Source| source.code_lines() > 400;
        let name = |source: Source| format!("{}: {} lines", source.path, source.code_lines());
        found.extend(sources(folder)?.into_iter().filter(long).map(name));
    }
    complain(found)
}

/// Files with production code, folder by folder.
/// Guarantee: whoever looks for something looks through one screen of names at a time.
fn no_folder_of_the_host_has_more_than_20_files() -> Result<()> {
    let mut folders = std::collections::BTreeMap::<String, usize>::new();
    for source in sources("host/src")? {
        if let Some((folder, _)) = source.path.rsplit_once('/')
            && source.code_lines() > 0
        {
            *folders.entry(folder.to_owned()).or_default() += 1;
        }
    }
    let full = folders.into_iter().filter(|(_, files)| *files > 20);
    complain(
        full.map(|(folder, files)| format!("{folder}: {files} files"))
            .collect(),
    )
}

/// `unwrap` and its kin in production code; an `expect` says what makes it true.
/// Guarantee: no input and no state of a neighbour ends the process.
fn the_host_does_not_unwrap() -> Result<()> {
    let host = sources("host/src")?;
    let mut found = Vec::new();
    for word in ["unwrap", "unwrap_err", "unwrap_unchecked", "expect_err"] {
        found.extend(hits(&host, word, |_| false));
    }
    for word in ["todo", "unimplemented", "dbg", "panic"] {
        found.extend(hits(&host, &format!("{word}!"), |_| false));
    }
    complain(found)
}

/// `exit` and `abort` of the process.
/// Guarantee: whoever ends the gateway has drained it, and the exit code is decided in one place.
fn only_main_exits() -> Result<()> {
    let host = sources("host/src")?;
    let mut found = hits(&host, "process::exit", |path| path == "host/src/main.rs");
    found.extend(hits(&host, "process::abort", |_| false));
    complain(found)
}

/// Environment variables.
/// Guarantee: what the gateway does is in its config, where `check` shows it.
fn only_config_and_main_read_the_environment() -> Result<()> {
    let host = sources("host/src")?;
    let allowed = |path: &str| path == "host/src/main.rs" || path.starts_with("host/src/config/");
    let words = ["env::var", "env::vars", "env::var_os", "env::vars_os"];
    complain(
        words
            .iter()
            .flat_map(|word| hits(&host, word, allowed))
            .collect(),
    )
}

/// `SystemTime::now`, and any clock in the parts whose logic is about time.
/// Guarantee: logic about time is tested with any time, and a clock that jumps is handled in one place.
fn the_wall_clock_is_read_in_one_place() -> Result<()> {
    let host = sources("host/src")?;
    let apart =
        |path: &str| path.starts_with("host/src/demo/") || path.starts_with("host/src/sim/");
    complain(hits(&host, "SystemTime::now", |path| {
        path == "host/src/clock.rs" || apart(path)
    }))
}

/// Looks at any clock below `chain`, but for who waits for a thread or a process and who holds a guest to its processor time.
/// Guarantee: ticks, checkpoints, breakers and trials are tested with any time, and a replay has the recording's.
fn the_chain_takes_its_time_from_the_clock_it_is_given() -> Result<()> {
    let machine = [
        "pool.rs",
        "answer.rs",
        "sandbox/series.rs",
        "sandbox/instance.rs",
        "sandbox/compile/child.rs",
    ];
    let allowed = |path: &str| {
        machine
            .iter()
            .any(|file| path.strip_prefix("host/src/chain/") == Some(file))
    };
    let chain = sources("host/src/chain")?;
    let words = [
        "Instant::now",
        "Now::read",
        "SystemTime::now",
        "elapsed()",
        "clock::thread_cpu",
    ];
    complain(
        words
            .iter()
            .flat_map(|word| hits(&chain, word, allowed))
            .collect(),
    )
}

/// `fs::read` and its kin, outside `file.rs` and the spool's own files.
/// Guarantee: no pipe, device or endless file that a path leads to makes anybody wait or takes the memory.
fn a_file_is_read_in_one_way() -> Result<()> {
    let host = sources("host/src")?;
    let allowed = |path: &str| {
        let apart = ["host/src/file.rs", "host/src/spool/", "host/src/demo/"];
        apart.iter().any(|place| path.starts_with(place))
    };
    let words = [
        "fs::read",
        "fs::read_to_string",
        "read_to_string",
        "File::open",
    ];
    complain(
        words
            .iter()
            .flat_map(|word| hits(&host, word, allowed))
            .collect(),
    )
}

/// Looks at control characters, outside `words.rs`.
/// Guarantee: what devices, plugins and brokers say is cleaned the same way wherever it is shown.
fn words_from_outside_are_cleaned_in_one_way() -> Result<()> {
    // These ask whether a text may be used, and change nothing in it, or write it in the language of a database or a table.
    let asks = [
        "host/src/config/connection.rs",
        "host/src/config/secrecy.rs",
        "host/src/chain/lane/trial/compare/sample.rs",
        "host/src/message/legal.rs",
        "host/src/uplink/form/lines.rs",
        "host/src/uplink/http/line.rs",
    ];
    let host = sources("host/src")?;
    complain(hits(&host, "is_control", |path| {
        path == "host/src/words.rs" || asks.contains(&path)
    }))
}

/// Owners by number, outside `file.rs` and what speaks about people.
/// Guarantee: folder, key and cache are all held to the same rule.
fn whose_a_file_is_is_looked_at_in_one_place() -> Result<()> {
    let host = sources("host/src")?;
    // Who is at the other end of the socket, and which user a store needs.
    let about_people = [
        "host/src/file.rs",
        "host/src/admin/",
        "host/src/cli/place.rs",
    ];
    complain(hits(&host, "uid()", |path| {
        about_people.iter().any(|place| path.starts_with(place))
    }))
}

/// `eprintln!` and the standard library's standard error.
/// Guarantee: a reader that stops holds up nobody, and a line that cannot be written ends nothing.
fn nobody_writes_to_standard_error_in_place() -> Result<()> {
    let host = sources("host/src")?;
    let mut found = hits(&host, "eprintln!", |_| false);
    found.extend(hits(&host, "eprint!", |_| false));
    found.extend(hits(&host, "stderr().lock", |path| {
        path == "host/src/telemetry/sink.rs"
    }));
    found.extend(hits(&host, "with_writer", |_| false));
    complain(found)
}

/// `await` below `chain` and `spool`.
/// Guarantee: workers and the store are plain threads with a loop; async is where the network is.
fn chain_and_spool_do_not_wait_asynchronously() -> Result<()> {
    let mut found = Vec::new();
    for stage in ["chain", "spool"] {
        found.extend(hits(
            &sources(&format!("host/src/{stage}"))?,
            "await",
            |_| false,
        ));
    }
    complain(found)
}
