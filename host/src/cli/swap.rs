//! `tidegate swap`, `rollback` and `reload`: orders to a running gateway, and what comes of them, line by line.

mod told;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use self::told::show;
use super::Global;
use super::OutputFormat;
use super::Surroundings;
use super::completions::names;
use super::place::{CommandFailure, DataDirArgument, file_failure, running};
use super::print_json;
use super::say;
use crate::admin::{Client, ClientError};
use crate::chain::{Canary, Shadow};
use crate::config::read_duration;
use crate::exit::Exit;
use crate::file;
use crate::gateway::live::{
    ChangeLine, ChangeOutcome, ChangeProgress, ChangeReceipt, FlowOutcome, FlowVerdict, PluginName,
    Rollback, SwapOrder, SwapPlan,
};
use crate::trust;

const SWAP_EXAMPLES: &str = "\
Examples:
  tidegate swap climate/rule rule.wasm                     the new one is watched, and taken back when it does worse
  tidegate swap rule rule.wasm --shadow 10m --sample 10%   its outputs are compared for 10 minutes first
  tidegate swap rule rule.wasm --canary 10%                a tenth of the devices first
  tidegate swap rule --follow                              what a change under way does
  tidegate swap rule --promote                             its present phase ends now, as if it had gone well
  tidegate swap rule old.wasm --downgrade                  signed as an older version than has run here
  tidegate swap rule                                       what the config says, though it was rolled back

The config and its files stay as they are: the version swapped in runs over restarts too, until the config says \
something new. Ctrl-C leaves a change going on. Ends with 6 when the version was refused or taken back; the one before \
then runs on, with its state.";

const ROLLBACK_EXAMPLES: &str = "\
Examples:
  tidegate rollback climate/rule                  end the change under way, else back to the good version before
  tidegate rollback rule --to 3f2a9c              to the kept version whose digest begins so: see `tidegate plugins`

Component and settings of that version come back, the state is handed over as in any swap, and the version left is not \
taken again until somebody asks for it by `tidegate swap`.";

const RELOAD_EXAMPLES: &str = "\
Examples:
  tidegate reload                         read the config again, and say what changes and what needs a restart
  tidegate reload -o json | jq -c .

Ends with 3 when the config has mistakes: then nothing is changed. Ends with 6 when a flow or a plugin was refused, which \
then runs on as before; what else has changed is taken.";

/// Arguments of `tidegate swap`.
#[derive(Debug, Args)]
#[command(after_help = SWAP_EXAMPLES)]
pub struct SwapArguments {
    /// The plugin: FLOW/PLUGIN, or its own name where there is only one of it.
    #[arg(value_name = "PLUGIN", add = ArgValueCandidates::new(names::plugins))]
    plugin: String,
    /// The component; its signature is looked for beside it. Without one: what the config says.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// First only compare its outputs with those of the running version, for so long.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    shadow: Option<Duration>,
    /// The same for so many messages; with --shadow, whichever comes first.
    #[arg(long, value_name = "N")]
    messages: Option<u64>,
    /// Compare the messages of this share of the devices only.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "100%")]
    sample: f64,
    /// Refuse it when more than this share of the compared messages differs; without it, differences are only told.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    max_differing: Option<f64>,
    /// Then let its outputs count for this share of the devices.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    canary: Option<f64>,
    /// How long the canary takes.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10m", requires = "canary")]
    canary_time: Duration,
    /// Take it although it cannot read the state: it begins without.
    #[arg(long)]
    fresh_state: bool,
    /// Take it although its signature says an older version than was confirmed here before.
    #[arg(long)]
    downgrade: bool,
    /// End the change of this plugin that is under way, if there is one, and make this one.
    #[arg(long)]
    replace: bool,
    /// Do not wait for the verdict.
    #[arg(long)]
    detach: bool,
    /// Order nothing; tell of the change under way.
    #[arg(long, conflicts_with_all = ["file", "promote"])]
    follow: bool,
    /// End the present phase of the change under way as if it had gone well.
    #[arg(long, conflicts_with = "file")]
    promote: bool,
    #[command(flatten)]
    at: DataDirArgument,
}

/// Arguments of `tidegate rollback`.
#[derive(Debug, Args)]
#[command(after_help = ROLLBACK_EXAMPLES)]
pub struct RollbackArguments {
    /// The plugin: FLOW/PLUGIN, or its own name where there is only one of it.
    #[arg(value_name = "PLUGIN", add = ArgValueCandidates::new(names::plugins))]
    plugin: String,
    /// How the digest of the version begins.
    #[arg(long, value_name = "DIGEST")]
    to: Option<String>,
    /// Do not wait for the verdict.
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    at: DataDirArgument,
}

/// Arguments of `tidegate reload`.
#[derive(Debug, Args)]
#[command(after_help = RELOAD_EXAMPLES)]
pub struct ReloadArguments {
    #[command(flatten)]
    at: DataDirArgument,
}

pub fn swap(global: &Global, arguments: &SwapArguments, surroundings: Surroundings) -> Exit {
    let ordered = || {
        let client = find(global, &arguments.at, surroundings)?;
        let name = PluginName(arguments.plugin.clone());
        let receipt = if arguments.follow {
            client.post("/v1/plugins/follow", &name)?
        } else if arguments.promote {
            client.post("/v1/plugins/promote", &name)?
        } else {
            order(&client, arguments)?
        };
        told(
            global,
            &client,
            receipt,
            Some(&arguments.plugin),
            arguments.detach,
        )
    };
    ordered().unwrap_or_else(|failure: CommandFailure| failure.end())
}

pub fn rollback(
    global: &Global,
    arguments: &RollbackArguments,
    surroundings: Surroundings,
) -> Exit {
    let ordered = || {
        let client = find(global, &arguments.at, surroundings)?;
        let order = Rollback {
            plugin: PluginName(arguments.plugin.clone()),
            to: arguments.to.clone(),
        };
        let receipt = client.post("/v1/plugins/rollback", &order)?;
        told(
            global,
            &client,
            receipt,
            Some(&arguments.plugin),
            arguments.detach,
        )
    };
    ordered().unwrap_or_else(|failure: CommandFailure| failure.end())
}

pub fn reload(global: &Global, arguments: &ReloadArguments, surroundings: Surroundings) -> Exit {
    let ordered = || {
        let client = find(global, &arguments.at, surroundings)?;
        let receipt = client.post("/v1/reload", &())?;
        told(global, &client, receipt, None, false)
    };
    ordered().unwrap_or_else(|failure: CommandFailure| failure.end())
}

fn find(
    global: &Global,
    at: &DataDirArgument,
    surroundings: Surroundings,
) -> Result<Client, CommandFailure> {
    running(
        global,
        at,
        surroundings,
        "a stopped one runs what its config says at its next start",
    )
}

fn order(client: &Client, arguments: &SwapArguments) -> Result<ChangeReceipt, CommandFailure> {
    let mut component = Vec::new();
    let mut signature = None;
    if let Some(path) = &arguments.file {
        component = file::read(path, file::COMPONENT).map_err(|error| file_failure(path, error))?;
        let beside = trust::signature_path(path);
        signature = trust::read_signature(&beside).map_err(|error| file_failure(&beside, error))?;
    }
    let order = SwapOrder {
        plugin: PluginName(arguments.plugin.clone()),
        from_config: arguments.file.is_none(),
        signature,
        plan: arguments.plan(),
        downgrade: arguments.downgrade,
        replace: arguments.replace,
    };
    Ok(client.post_with("/v1/plugins/swap", &order, &component)?)
}

impl SwapArguments {
    /// This component, in the place of whatever is under way, as if nothing else had been said.
    pub fn of(plugin: String, file: PathBuf, at: DataDirArgument) -> Self {
        Self {
            plugin,
            file: Some(file),
            shadow: None,
            messages: None,
            sample: 1.0,
            max_differing: None,
            canary: None,
            canary_time: Duration::from_secs(600),
            fresh_state: false,
            downgrade: false,
            replace: true,
            detach: false,
            follow: false,
            promote: false,
            at,
        }
    }

    fn plan(&self) -> SwapPlan {
        let is_shadowed = self.shadow.is_some() || self.messages.is_some();
        let shadow = Shadow {
            time: self.shadow,
            messages: self.messages,
            sample: self.sample,
            max_differing: self.max_differing,
        };
        let canary = |share| Canary {
            share,
            time: Some(self.canary_time),
            messages: None,
        };
        SwapPlan {
            shadow: is_shadowed.then_some(shadow),
            canary: self.canary.map(canary),
            fresh_state: self.fresh_state,
        }
    }
}

/// Tells what comes of an order until it has ended.
fn told(
    global: &Global,
    client: &Client,
    receipt: ChangeReceipt,
    plugin: Option<&str>,
    detach: bool,
) -> Result<Exit, CommandFailure> {
    let ChangeReceipt { change } = receipt;
    if detach {
        match global.output {
            OutputFormat::Json => print_json(&serde_json::json!(receipt)),
            OutputFormat::Text => hint(plugin),
        }
        return Ok(Exit::Done);
    }
    if global.output == OutputFormat::Text && global.quiet == 0 {
        hint(plugin);
    }
    let mut from = 0;
    let mut exit = Exit::Done;
    loop {
        let page: ChangeProgress = match client.get(&format!("/v1/changes/{change}?from={from}")) {
            Err(ClientError::Silent { .. }) if from > 0 => {
                say(
                    "error: the gateway has stopped meanwhile; `tidegate plugins` shows what runs at its next start",
                );
                return Ok(Exit::NotRunning);
            }
            page => page?,
        };
        from += page.lines.len();
        for line in &page.lines {
            match global.output {
                OutputFormat::Json => print_json(&serde_json::json!(line)),
                OutputFormat::Text => show(line),
            }
            exit = worse(exit, line);
        }
        if page.has_ended {
            return Ok(exit);
        }
    }
}

fn hint(plugin: Option<&str>) {
    if let Some(plugin) = plugin {
        say(&format!(
            "follow: tidegate swap {plugin} --follow   end it: tidegate rollback {plugin}"
        ));
    }
}

/// The first that went wrong decides.
fn worse(exit: Exit, line: &ChangeLine) -> Exit {
    let this = match line {
        ChangeLine::Verdict(verdict) if verdict.verdict == ChangeOutcome::Suspended => Exit::Failed,
        ChangeLine::Verdict(verdict) if !verdict.verdict.is_taken() => Exit::Refused,
        ChangeLine::Flow(FlowVerdict {
            verdict: FlowOutcome::Refused,
            ..
        })
        | ChangeLine::Gone { .. } => Exit::Refused,
        ChangeLine::Mistakes { .. } => Exit::Config,
        _ => Exit::Done,
    };
    if exit == Exit::Done { this } else { exit }
}

fn duration(text: &str) -> Result<Duration, String> {
    read_duration(text)
}

/// A share above 0 to 1, out of `10%` or `0.1`.
fn share(text: &str) -> Result<f64, String> {
    let number = |text: &str| {
        text.trim()
            .parse::<f64>()
            .map_err(|_| "write a share as 10% or 0.1".to_owned())
    };
    let share = match text.strip_suffix('%') {
        Some(percent) => number(percent)? / 100.0,
        None => number(text)?,
    };
    if share > 0.0 && share <= 1.0 {
        Ok(share)
    } else {
        Err("a share is above 0 and at most 100%".to_owned())
    }
}

#[cfg(test)]
mod tests;
