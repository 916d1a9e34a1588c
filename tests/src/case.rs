//! Cases as `libtest-mimic` trials: one that cannot run here says so, loudly, and is never counted as passed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;
use std::{process, thread};

use anyhow::Result;
use libtest_mimic::{Completion, Failed, Trial};

use crate::broker::has_mosquitto;
use crate::process::{forget_witnesses, testimony};

/// A case that runs everywhere.
pub fn case(name: &str, run: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    let shown = name.to_owned();
    Trial::test(name, move || attempt(&shown, run))
}

/// Cases named by their functions: `module::function`, as in a path from the test's root. The second form makes each by a
/// function such as [`with_mosquitto`], or a closure around [`needs`].
#[macro_export]
macro_rules! cases {
    ($($run:ident),* $(,)?) => { $crate::cases![$crate::case; $($run),*] };
    ($make:expr; $($run:ident),* $(,)?) => {{
        let make = $make;
        vec![$(make(
            $crate::case_name(concat!(module_path!(), "::", stringify!($run))),
            $run as fn() -> ::anyhow::Result<()>,
        )),*]
    }};
}

/// A path without the name of its crate.
pub fn case_name(path: &'static str) -> &'static str {
    path.split_once("::").map_or(path, |(_, name)| name)
}

/// A case that wants mosquitto: without it, it is reported as not run, and fails in CI.
pub fn with_mosquitto(name: &str, run: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    needs(name, "mosquitto", has_mosquitto(), run)
}

/// A case that wants `what`, which `is_there` or not.
pub fn needs(
    name: &str,
    what: &'static str,
    is_there: bool,
    run: impl FnOnce() -> Result<()> + Send + 'static,
) -> Trial {
    let shown = name.to_owned();
    Trial::ignorable_test(name, move || {
        if is_there {
            return attempt(&shown, run).map(|()| Completion::Completed);
        }
        if is_ci() {
            return Err(Failed::from(format!(
                "{what} is not installed, and in CI it has to be"
            )));
        }
        eprintln!("not run: {shown}: {what} is not installed");
        Ok(Completion::ignored_with(format!(
            "not run: {what} is not installed"
        )))
    })
}

/// A case that wants what not every machine can give, such as root: where `is_there` says no, it is reported as not
/// run, in CI too. It is asked only when the case is to run.
pub fn where_possible(
    name: &str,
    what: &'static str,
    is_there: impl FnOnce() -> bool + Send + 'static,
    run: impl FnOnce() -> Result<()> + Send + 'static,
) -> Trial {
    let shown = name.to_owned();
    Trial::ignorable_test(name, move || {
        if is_there() {
            return attempt(&shown, run).map(|()| Completion::Completed);
        }
        eprintln!("not run: {shown}: it needs {what}");
        Ok(Completion::ignored_with(format!(
            "not run: it needs {what}"
        )))
    })
}

/// Whether this is CI, where nothing may be left out.
pub fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// How often something is to happen: `long` with `TIDEGATE_SOAK` set (`just soak`), else `short`.
pub fn rounds(short: usize, long: usize) -> usize {
    if std::env::var_os("TIDEGATE_SOAK").is_some() {
        long
    } else {
        short
    }
}

/// How long something is to go on in the long form: `TIDEGATE_SOAK_HOURS`, three days if that is not set. `None` in the
/// short one.
pub fn soak_time() -> Option<Duration> {
    std::env::var_os("TIDEGATE_SOAK")?;
    let hours = std::env::var("TIDEGATE_SOAK_HOURS").map_or(72.0, |hours| {
        hours.parse().expect("TIDEGATE_SOAK_HOURS is a number")
    });
    Some(Duration::from_secs_f64(hours * 3_600.0))
}

/// How long a case may take where none is meant to take long. One that takes longer waits for what does not come.
const PATIENCE: Duration = Duration::from_secs(900);

/// Ends the whole run when a case does not end before what is returned is dropped: its threads cannot be ended, and a run that
/// stands still says nothing.
fn watch(name: &str) -> mpsc::SyncSender<()> {
    let (ends, has_ended) = mpsc::sync_channel(1);
    let name = name.to_owned();
    thread::spawn(move || {
        let waited = has_ended.recv_timeout(PATIENCE);
        if waited == Err(mpsc::RecvTimeoutError::Timeout) && soak_time().is_none() {
            let seconds = PATIENCE.as_secs();
            eprintln!("{name} has not ended after {seconds} s: the run is given up");
            process::abort();
        }
    });
    ends
}

fn attempt(name: &str, run: impl FnOnce() -> Result<()>) -> Result<(), Failed> {
    let _ends = watch(name);
    forget_witnesses();
    let text = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => format!("{error:#}"),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("panicked: {}", text.unwrap_or("without words"))
        }
    };
    Err(Failed::from(format!("{text}\n{}", testimony())))
}
