//! Commands that look at the files of a stopped gateway.

use std::fs;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::{Broker, cases};

use super::sealed::all_bytes;
use super::{Dark, told};

pub fn cases() -> Vec<Trial> {
    cases![looking_changes_nothing,]
}

/// A gateway owes 300 messages and is stopped; then everything that looks is asked, of its folder and of a copy.
/// Guarantee: every file is as it was, and nothing is said of the copy's name.
fn looking_changes_nothing() -> Result<()> {
    let dark = Dark::owing(Broker::embedded, 300)?;
    let (ended, setup) = dark.gateway.stop()?;
    ensure!(ended.success(), "the gateway ended with {ended}");
    let before = all_bytes(&setup.data())?;
    let copy = tempfile::tempdir()?;
    for (path, content) in &before {
        let path = copy
            .path()
            .join("data")
            .join(path.strip_prefix(setup.data())?);
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        fs::write(path, content)?;
    }
    fs::copy(setup.config_file(), copy.path().join("tidegate.toml"))?;
    for folder in [setup.folder(), copy.path()] {
        let data = folder.join("data");
        let before = all_bytes(&data)?;
        for command in [
            &["status"][..],
            &["parked", "list"],
            &["parked", "export"],
            &["ledger"],
            &["plugins"],
            &["history"],
            &["spool", "stat"],
            &["spool", "peek"],
            &["spool", "check"],
            &["spool", "export"],
        ] {
            let (_, said) = told(folder, command, 0)?;
            ensure!(!said.contains("copied"), "{command:?}: {said}");
            let after = all_bytes(&data)?;
            let changed: Vec<_> = after.iter().filter(|file| !before.contains(file)).collect();
            let changed: Vec<_> = changed.iter().map(|(path, _)| path).collect();
            ensure!(
                after.len() == before.len(),
                "{command:?} made or removed files"
            );
            ensure!(changed.is_empty(), "{command:?} changed {changed:?}");
        }
    }
    Ok(())
}
