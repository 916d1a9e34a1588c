//! `tidegate doctor`: what of this machine, its disk, its network and its gateway is not as it should be, and what mends it.
//!
//! Each subject is a file of its own with one function, from what the machine's files say below a root, and from `Facts`, to
//! findings. Nothing is changed but what `--fix` says.

mod certificates;
mod clock;
mod disk;
mod facts;
mod finding;
mod gateway;
mod limits;
mod machine;
mod memory;
mod mounts;
mod network;
mod power;
mod secrets;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use self::facts::Facts;
use self::finding::{Finding, FindingLevel};
use self::machine::{Machine, shown};
use super::check::plugin_faults;
use super::check::{connect, own};
use super::place::{DataDirArgument, GatewayOrConfig, find};
use super::{Global, OutputFormat, Surroundings, print, print_json, say, show};
use crate::clock::Now;
use crate::config::{self, Config};
use crate::exit::Exit;
use crate::gateway::api::status::Status;

const EXAMPLES: &str = "\
Examples:
  sudo -u tidegate tidegate doctor
  sudo -u tidegate tidegate doctor --fix   modes of secret files, and the data folder
  tidegate doctor --connect                and each source and uplink, tried
  tidegate doctor -o json | jq '.findings[] | select(.level == \"failed\")'

Ends with 0 when nothing has failed (warnings are none), 7 when something has.";

/// Arguments of `tidegate doctor`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    at: DataDirArgument,
    /// Try each source and uplink, too, as `check --connect` does.
    #[arg(long)]
    connect: bool,
    /// Mend what is safe to mend: files of secrets that others can read, a data folder that is not there. It says what it did.
    #[arg(long)]
    fix: bool,
}

/// Looks, mends if it may, tells, and ends as it is.
pub fn run(global: &Global, arguments: &Arguments, surroundings: Surroundings) -> Exit {
    let sources = global.sources(arguments.at.data_dir.clone());
    let sources = config::Sources {
        secrets: crate::config::Secrets::Elsewhere,
        ..sources
    };
    let (config, problems) = config::load_somehow(&sources);
    let done = if arguments.fix {
        mend(&config)
    } else {
        Vec::new()
    };
    let mut found = of_config(&config, problems.map(|problems| problems.summary()));
    let status = status(global, arguments, surroundings);
    match whole((&config, &sources), status.as_ref(), arguments.connect) {
        Ok(more) => found.extend(more),
        Err(error) => {
            say(&format!("error: nothing can be looked up: {error}"));
            return Exit::Failed;
        }
    }
    tell(global, &found, &done);
    if found
        .iter()
        .any(|finding| finding.level == FindingLevel::Failed)
    {
        Exit::Degraded
    } else {
        Exit::Done
    }
}

fn whole(
    (config, origin): (&Config, &config::Sources),
    status: Option<&Status>,
    connects: bool,
) -> std::io::Result<Vec<Finding>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let facts = runtime.block_on(facts::gather(config));
    let tried = connects.then(|| runtime.block_on(connect::all(config)));
    // A look-up that does not come back is not waited for.
    runtime.shutdown_background();
    let mut found = examine(&Machine::below("/"), Now::read(), &facts, status);
    let mut tried = tried.unwrap_or_default();
    own::recognise(config, origin, &mut tried);
    found.extend(tried.into_iter().map(of_end));
    Ok(found)
}

/// Everything that is found of a machine; a test makes one up.
fn examine(machine: &Machine, now: Now, facts: &Facts, status: Option<&Status>) -> Vec<Finding> {
    let mut found = clock::look(machine, now);
    found.extend(power::look(machine));
    found.extend(memory::look(machine, facts.limit_bytes));
    found.extend(disk::look(machine, &facts.folder));
    let process = status.and_then(|status| status.process.as_ref());
    let process = process.map_or_else(
        || "self".to_owned(),
        |process| limits::process(machine, process.pid),
    );
    found.extend(limits::look(machine, &process, facts.wanted));
    if status.is_none() {
        found.extend(network::ports(machine, &facts.ports));
    }
    found.extend(network::names(machine, &facts.names));
    found.extend(certificates::look(&facts.certificates, now.wall.0));
    found.extend(secrets::look(&facts.secrets, &facts.folder.path));
    match status {
        Some(status) => found.extend(gateway::look(status, now.uptime.0 / 1_000_000)),
        None => found.push(gateway::unasked(facts.unreached.as_deref())),
    }
    found
}

/// What the config and its plugins are worth.
fn of_config(config: &Config, problems: Option<String>) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(problems) = problems {
        let what = format!("the config has {problems}");
        let why = "a gateway does not start on it, unless it has run on a good one before";
        found.push(Finding::of(
            FindingLevel::Failed,
            "config",
            what,
            why,
            "tidegate check",
        ));
    } else {
        let open = config.strict().open;
        found.push(match open {
            0 => Finding::ok("config", "good, and nothing in it should not go live"),
            open => {
                let what = format!(
                    "good, and {} in it should not go live",
                    show::of(open as u64, "thing")
                );
                Finding::of(
                    FindingLevel::Warning,
                    "config",
                    what,
                    "it would cost messages or secrets, or nobody would hear of it",
                    "tidegate check --strict",
                )
            }
        });
    }
    found.extend(of_plugins(config));
    found
}

/// Whether the plugins of a config can be used.
fn of_plugins(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    let faults = plugin_faults(config);
    let plugins: usize = config.flows.iter().map(|flow| flow.plugins.len()).sum();
    if faults.is_empty() && plugins > 0 {
        found.push(Finding::ok(
            "plugins",
            format!("{} can be used", show::of(plugins as u64, "plugin")),
        ));
    }
    for fault in faults {
        let flow = config.flows.get(fault.flow.index());
        let plugin = flow.and_then(|flow| flow.plugins.get(fault.plugin));
        let name =
            |name: Option<&std::sync::Arc<str>>| name.map_or_else(String::new, ToString::to_string);
        let what = format!(
            "{}/{}: {}",
            name(flow.map(|flow| &flow.name)),
            name(plugin.map(|plugin| &plugin.name)),
            fault.message
        );
        let why = "the gateway does not start with it, unless another version of it has run before";
        found.push(Finding::of(
            FindingLevel::Failed,
            "plugins",
            what,
            why,
            "tidegate check",
        ));
    }
    found
}

/// What a running gateway says; why one cannot be asked is said.
fn status(global: &Global, arguments: &Arguments, surroundings: Surroundings) -> Option<Status> {
    match find(global, &arguments.at, surroundings) {
        Ok(GatewayOrConfig::Running(client)) => client
            .get("/v1/status")
            .inspect_err(|error| say(&format!("the gateway cannot be asked: {error}")))
            .ok(),
        Ok(GatewayOrConfig::Stopped(_)) => None,
        Err(error) => {
            say(&format!(
                "the gateway cannot be asked: {}",
                crate::words::with_causes(&error)
            ));
            None
        }
    }
}

fn of_end(end: connect::ConnectFinding) -> Finding {
    let what = format!("{} ({}): {}", end.end, end.address, end.words.join("; "));
    if end.is_good {
        return Finding::ok("ends", what);
    }
    let why = "nothing comes in there, or what is owed there waits";
    Finding::of(
        FindingLevel::Failed,
        "ends",
        what,
        why,
        "the words say what to look at; then: tidegate check --connect",
    )
}

/// What is safe to mend, in words.
fn mend(config: &Config) -> Vec<String> {
    let mut done = secrets::close(&facts::secrets(config), &config.gateway.data_dir);
    done.extend(make(&config.gateway.data_dir));
    done
}

fn make(folder: &Path) -> Option<String> {
    if folder.as_os_str().is_empty() || folder.exists() {
        return None;
    }
    let path: PathBuf = folder.to_owned();
    if rustix::process::geteuid().is_root() {
        let path = shown(&path);
        return Some(format!(
            "{path}: not made, since it would be root's and no other user's: install -d -m 750 -o USER {path}"
        ));
    }
    Some(
        match DirBuilder::new().recursive(true).mode(0o750).create(&path) {
            Ok(()) => format!("{}: made, for this user", shown(&path)),
            Err(error) => format!("{}: cannot be made: {error}", shown(&path)),
        },
    )
}

fn tell(global: &Global, found: &[Finding], done: &[String]) {
    if global.output == OutputFormat::Json {
        return print_json(&json!({ "findings": found, "fixed": done }));
    }
    for line in done {
        print(&format!("fixed    {line}"));
    }
    for finding in found {
        print(&finding.text());
    }
    let count = |level: FindingLevel| {
        found
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    };
    print(&format!(
        "{} failed, {}, {} unknown, {} well",
        count(FindingLevel::Failed),
        show::of(count(FindingLevel::Warning) as u64, "warning"),
        count(FindingLevel::Unknown),
        count(FindingLevel::Ok)
    ));
}

#[cfg(test)]
mod tests;
