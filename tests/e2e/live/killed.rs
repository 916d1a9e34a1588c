//! A gateway that is killed while a version is put in.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate::trust;
use tidegate_tests::cases;
use tidegate_tests::{Gateway, rounds, wait_until};

use super::{
    FILE, LONG, PLUGIN, SHORT, about, candidate, count, counting, runs, state, transitions,
};
use crate::guest::{component, marked};
use crate::scene::Scene;
use crate::tools::told;

pub fn cases() -> Vec<Trial> {
    cases![
        killed_in_each_state_of_a_change,
        killed_at_any_moment_of_a_change,
    ]
}

/// The gateway is killed while a new file is compiled, while it is on probation, the same once more, and after it was
/// confirmed.
/// Guarantee: what had not proven itself does not run after a kill; it is tried again beside the good one, once; what
/// was confirmed runs.
fn killed_in_each_state_of_a_change() -> Result<()> {
    let scene = counting(LONG)?;
    let original = component("count")?;
    let (first, second) = (marked(&original, 1), marked(&original, 2));
    let folder = scene.gateway.folder().to_owned();
    scene.gateway.replace(FILE, &first)?;
    wait_until("it is on probation", || state(&folder) == "on-probation")?;
    let gateway = scene.gateway.kill()?.start()?;
    ensure!(
        runs(&folder, &original)?,
        "after a kill on probation: {}",
        about(&folder)?
    );
    wait_until("it is tried once more", || state(&folder) == "on-probation")?;
    let gateway = gateway.kill()?.start()?;
    ensure!(
        runs(&folder, &original)? && transitions(&gateway, "seen") == 0.0,
        "after the second kill: {}",
        about(&folder)?
    );
    ensure!(
        about(&folder)?["refused"][0]["rolled_back"] == true,
        "{}",
        about(&folder)?
    );
    gateway.replace(FILE, &second)?;
    wait_until("another is seen", || transitions(&gateway, "seen") >= 1.0)?;
    let gateway = gateway.kill()?.start()?;
    ensure!(
        runs(&folder, &original)?,
        "after a kill at the beginning: {}",
        about(&folder)?
    );
    wait_until("it is tried once more", || state(&folder) == "on-probation")?;
    // The verdict comes when it is written down.
    told(&folder, &["swap", PLUGIN, "--promote"], 0)?;
    let _gateway = gateway.kill()?.start()?;
    ensure!(
        runs(&folder, &second)?,
        "after a kill when it was confirmed: {}",
        about(&folder)?
    );
    Ok(())
}

/// Files and orders come in, and the gateway is killed after a random number of transitions.
/// Guarantee: one whole version runs after each kill, the one that the files told of before the start; messages flow.
fn killed_at_any_moment_of_a_change() -> Result<()> {
    let scene = counting(SHORT)?;
    let original = component("count")?;
    let Scene {
        field,
        cloud: _cloud,
        watch,
        mut gateway,
    } = scene;
    let folder = gateway.folder().to_owned();
    for round in 0..rounds(4, 60) as u32 {
        let new = marked(&original, round + 1);
        let by_command = fastrand::bool();
        let (mark, wanted) = (gateway.lines().count(), fastrand::usize(1..=7));
        if by_command {
            told(
                &folder,
                &["swap", PLUGIN, &candidate(&folder, &new)?, "--detach"],
                0,
            )?;
        } else {
            gateway.replace(FILE, &new)?;
        }
        let told = |gateway: &Gateway| {
            gateway.lines().all()[mark..]
                .iter()
                .filter(|line| line.contains("change of a plugin"))
                .count()
        };
        wait_until("it has come so far", || told(&gateway) >= wanted)?;
        let setup = gateway.kill()?;
        let left = about(&folder)?["digest"].clone();
        gateway = setup.start()?;
        let digest = about(&folder)?["digest"].clone();
        // A file is tried again as soon as the gateway runs.
        ensure!(
            digest == left || (!by_command && digest == *trust::digest(&new)),
            "round {round}: {left} was left, {digest} runs"
        );
        ensure!(count(&field, &watch)? > 0, "it does not count");
        wait_until("nothing is tried", || state(&folder).is_empty())?;
    }
    Ok(())
}
