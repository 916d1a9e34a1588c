//! Files that are followed: over kills while they are rotated, and while they are not there.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::tally::Sent;
use tidegate_tests::{Broker, Config, Gateway, Watch, cases, rounds, wait_until};

use super::{payloads, raw, reading};
use crate::scene::{UP, compare, kill_at_random};
use crate::tools::json;

pub fn cases() -> Vec<Trial> {
    cases![
        a_file_that_is_rotated_while_the_gateway_is_killed_is_read_whole_and_in_order,
        a_file_is_waited_for_and_read_on_after_a_stop,
    ]
}

fn following(path: &Path, cloud: &str) -> Config {
    raw(&format!("tail://{}", path.display()), cloud, "")
        .change("source.field.topic", "devices/{file}/telemetry")
}

/// A program that writes its readings into a file, which is renamed, or copied and cut, every now and then.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<usize>>,
}

impl Writer {
    fn start(path: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let write = move || -> Result<usize> {
            let (mut written, mut rotation) = (0, 0);
            while !told.load(Ordering::Relaxed) {
                let mut options = OpenOptions::new();
                let mut file = options.append(true).create(true).open(&path)?;
                for _ in 0..fastrand::usize(600..900) {
                    let lines: String = (written..written + 5)
                        .map(|seq| format!("{}\n", reading(0, seq as u64)))
                        .collect();
                    // In two parts: a line is not there at once.
                    let (first, second) = lines.split_at(fastrand::usize(0..lines.len()));
                    file.write_all(first.as_bytes())?;
                    file.write_all(second.as_bytes())?;
                    written += 5;
                    // It is its pace, and nothing is synchronised by it.
                    std::thread::park_timeout(Duration::from_millis(2));
                }
                rotation += 1;
                let aside = path.with_added_extension(rotation.to_string());
                if fastrand::bool() {
                    fs::rename(&path, aside)?;
                } else {
                    fs::copy(&path, aside)?;
                    OpenOptions::new().write(true).truncate(true).open(&path)?;
                }
            }
            Ok(written)
        };
        Self {
            stop,
            thread: std::thread::spawn(write),
        }
    }

    fn stop(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a writer does not panic")
    }
}

/// Killed at random moments while a program writes and its file is rotated, with upstream there and away in turns.
/// Guarantee: every line arrives, first occurrences in order.
fn a_file_that_is_rotated_while_the_gateway_is_killed_is_read_whole_and_in_order() -> Result<()> {
    let (cloud, folder) = (Broker::embedded()?, tempfile::tempdir()?);
    let link = Cuttable::to(cloud.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    let path = folder.path().join("d0");
    fs::write(&path, "")?;
    // What is rotated before a file was ever seen is nobody's.
    let setup = Gateway::with(following(&path, &link.url()));
    let notes = setup.data().join("tails/field");
    let gateway = setup.start()?;
    wait_until("it is noted where the file begins", || {
        fs::metadata(&notes).is_ok_and(|notes| notes.len() > 0)
    })?;
    let setup = gateway.kill()?;
    let writer = Writer::start(path);
    let kills = rounds(20, 100);
    let gateway = kill_at_random(setup, Some(&link), kills, 800)?.start()?;
    let sent = Sent::first_of_each(&[writer.stop()?]);
    let verdict = compare(&sent, watch)?;
    eprintln!("{kills} kills: {verdict}");
    ensure!(verdict.is_at_least_once(), "after {kills} kills: {verdict}");
    ensure!(
        gateway.metric("tidegate_dead_letters_total", &[]) == 0.0,
        "there are dead letters"
    );
    Ok(())
}

/// A folder where the file should be, then nothing, then the file; a stop, and lines while the gateway is down.
/// Guarantee: what is missing is told; nothing comes twice over a stop, and what was written meanwhile comes.
fn a_file_is_waited_for_and_read_on_after_a_stop() -> Result<()> {
    let (cloud, folder) = (Broker::embedded()?, tempfile::tempdir()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let path = folder.path().join("d0");
    let setup = Gateway::with(following(&path, &cloud.url()));
    let said = json(setup.folder(), &["check", "--connect"], 7)?.to_string();
    ensure!(said.contains("there is no such file yet"), "{said}");
    fs::create_dir(&path)?;
    let gateway = setup.start()?;
    let told = |words: &str| {
        let told = gateway.health();
        told.is_ok_and(|(_, text)| text.contains(words))
    };
    wait_until("a folder is told", || told("it is no file but a folder"))?;
    fs::remove_dir(&path)?;
    wait_until("that there is none is told", || told("there is no file"))?;
    fs::write(&path, "one\ntwo\nhal")?;
    wait_until("lines are messages", || watch.arrivals().len() == 2)?;
    let condition = || gateway.metric("tidegate_source_condition", &[]);
    wait_until("nothing is missing", || condition() == 0.0)?;
    let (status, setup) = gateway.stop()?;
    ensure!(status.success(), "it did not stop well");
    OpenOptions::new()
        .append(true)
        .open(&path)?
        .write_all(b"f\nthree\n")?;
    let _gateway = setup.start()?;
    wait_until("the others come", || watch.arrivals().len() >= 4)?;
    ensure!(
        payloads(&watch) == ["one", "two", "half", "three"].map(|line| line.as_bytes().to_vec()),
        "{:?}",
        watch.arrivals()
    );
    Ok(())
}
