//! What becomes of live change where the system does not tell of changed files.

use std::fs;
use std::process::Command;

use anyhow::Result;
use libtest_mimic::Trial;
use tidegate_tests::{Broker, Config, Gateway, cases, wait_until, where_possible};

use crate::guest::{component, marked};
use crate::live::{FILE, SHORT, plugin, runs, state};

pub fn cases() -> Vec<Trial> {
    let within = |name: &str, run| where_possible(name, "a user namespace", has_namespace, run);
    cases![within; without_a_watch_of_the_system_files_are_looked_at]
}

/// A program that runs another one where this limit of a user is 0.
fn limited(limit: &str) -> [String; 7] {
    let script = format!("echo 0 > /proc/sys/user/{limit} && exec \"$@\"");
    [
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        &script,
        "sh",
    ]
    .map(str::to_owned)
}

fn has_namespace() -> bool {
    let [program, arguments @ ..] = limited("max_inotify_instances");
    Command::new(program)
        .args(arguments)
        .arg("true")
        .status()
        .is_ok_and(|status| status.success())
}

/// The system has no inotify instance to give, then no watch on a folder; a plugin's file changes in two ways.
/// Guarantee: a line says so and what to do about it, and each new content runs all the same.
fn without_a_watch_of_the_system_files_are_looked_at() -> Result<()> {
    let original = component("count")?;
    for limit in ["max_inotify_instances", "max_inotify_watches"] {
        let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
        let under = limited(limit);
        let setup = Gateway::with(
            Config::forwarding()
                .step("all", &plugin(SHORT))
                .between(&field.url(), &cloud.url()),
        )
        .under(&under.each_ref().map(String::as_str));
        fs::write(setup.folder().join(FILE), &original)?;
        let gateway = setup.start()?;
        let folder = gateway.folder().to_owned();
        let words = [
            "files cannot be watched",
            "raise fs.inotify.max_user_instances and fs.inotify.max_user_watches",
        ];
        wait_until("a line says what to do", || gateway.lines().has(&words))?;
        gateway.replace(FILE, &marked(&original, 1))?;
        wait_until("a file renamed over runs", || {
            runs(&folder, &marked(&original, 1)).unwrap_or(false)
        })?;
        wait_until("it is confirmed", || state(&folder).is_empty())?;
        fs::write(folder.join(FILE), marked(&original, 2))?;
        wait_until("a file written in place runs", || {
            runs(&folder, &marked(&original, 2)).unwrap_or(false)
        })?;
    }
    Ok(())
}
