//! `tidegate init`: a config for what is there: it asks for the two ends and what is wanted, looks at the broker of the devices for
//! some seconds, and writes flows for what it recognises. Nothing is overwritten.

mod ask;
mod look;
mod recognise;
mod write;

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use self::look::Looked;
use self::recognise::{Ecosystem, recognise};
use self::write::{InitEnd, InitWanted, Want};
use super::check::{compiling, plugin_faults};
use super::{Global, Surroundings, print, say};
use crate::config::{self, Config, Sources};
use crate::exit::Exit;
use crate::{file, source};

const EXAMPLES: &str = "\
Examples:
  tidegate init                                               three questions, and ./tidegate.toml
  tidegate init --field mqtt://127.0.0.1 --upstream mqtts://ingest.example.com --want silence
  tidegate init gateway.toml --field mqtts://broker.local --user me \\
      --password-file field.password --upstream https://ingest.example.com/v1 \\
      --upstream-password-file token --want changes --look 30s

A password is read from a file, and the config names that file. What it wrote is checked as `tidegate check` does; a file that is \
there is never written over.";

/// Where the name of the machine stands.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
/// Topics that are shown of those that belong to nothing that was recognised.
const SHOWN: usize = 8;

/// Arguments of `tidegate init`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The file to write.
    #[arg(value_name = "FILE", default_value = "tidegate.toml")]
    file: PathBuf,
    /// The broker of the devices: mqtt://host, or mqtts:// with TLS.
    #[arg(long, value_name = "URL")]
    field: Option<String>,
    /// Who logs in there.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The file that holds the password for it.
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<String>,
    /// Where messages go: mqtt://, mqtts://, http://, https://, postgres://, postgres+tls://, nats://, nats+tls://, kafka://host/topic, s3://bucket or file:///folder.
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Who logs in there.
    #[arg(long, value_name = "NAME")]
    upstream_user: Option<String>,
    /// The file that holds the password for it, over HTTP the token.
    #[arg(long, value_name = "FILE")]
    upstream_password_file: Option<String>,
    /// What is wanted of the messages.
    #[arg(long, value_name = "WANT")]
    want: Option<Want>,
    /// What the gateway is called. Default: as the machine is.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How long to look at the broker of the devices; 0s: not at all.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    look: Duration,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
enum InitFailure {
    #[error("`{}` is there already, and is never written over: name another file", .0.display())]
    IsThere(PathBuf),
    #[error("{0}")]
    Usage(String),
    #[error("the broker of the devices: {0}")]
    Look(String),
    #[error("`{}` cannot be written: {source}", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "what you gave makes no config that can be run: see --field, --upstream, --name and the files with passwords; nothing was written"
    )]
    Config(config::Problems),
    #[error("the config that was made does not pass its own check: {0}")]
    Plugin(String),
}

pub fn run(global: &Global, arguments: &Arguments, surroundings: Surroundings) -> Exit {
    match make(global, arguments, surroundings) {
        Ok(()) => Exit::Done,
        Err(failure) => {
            if let InitFailure::Config(problems) = &failure {
                global.show(problems, surroundings);
            }
            say(&format!("error: {failure}"));
            match failure {
                InitFailure::Usage(_) => Exit::Usage,
                InitFailure::Config(_) => Exit::Config,
                _ => Exit::Failed,
            }
        }
    }
}

fn make(
    global: &Global,
    arguments: &Arguments,
    surroundings: Surroundings,
) -> Result<(), InitFailure> {
    if fs::symlink_metadata(&arguments.file).is_ok() {
        return Err(InitFailure::IsThere(arguments.file.clone()));
    }
    let wanted = wanted(arguments)?;
    let file = &arguments.file;
    let config = checked(file, &write::config(&wanted, None))?;
    let found = if arguments.look.is_zero() {
        None
    } else {
        Some(looked(&config, arguments.look)?)
    };
    let text = write::config(&wanted, found.as_deref());
    let config = checked(file, &text)?;
    compiling(&config);
    if let Some(fault) = plugin_faults(&config).first() {
        return Err(InitFailure::Plugin(fault.message.clone()));
    }
    publish(&arguments.file, &text)?;
    print(&format!("wrote {}", arguments.file.display()));
    if !config.warnings.is_empty() {
        global.show(&config.warnings, surroundings);
    }
    let file = arguments.file.display();
    if wanted.want == write::Want::Changes && text.contains(write::UNCOMPARED) {
        say(
            "warning: a flow is written that carries everything, since its fields are not known; a comment in the file says what to add",
        );
    }
    say(&format!(
        "next: tidegate check --connect -c {file}, tidegate check --strict -c {file}, tidegate run -c {file}"
    ));
    Ok(())
}

fn wanted(arguments: &Arguments) -> Result<InitWanted, InitFailure> {
    let end = |url: String, user: &Option<String>, password_file: &Option<String>| InitEnd {
        url,
        user: user.clone(),
        password_file: password_file.clone(),
    };
    let field = ask::text(
        arguments.field.as_deref(),
        "--field",
        "The broker of the devices (mqtt://host)",
        "mqtt://127.0.0.1:1883",
    )?;
    let upstream = ask::text(
        arguments.upstream.as_deref(),
        "--upstream",
        "Where messages go (mqtts://host, https://host/path, file:///folder)",
        "",
    )?;
    let want = match arguments.want {
        Some(want) => want,
        None => ask::want()?,
    };
    let name = arguments.name.clone().or_else(|| {
        let name = file::read_text(Path::new(HOST_NAME), file::BY_HAND).ok()?;
        Some(name.trim().to_owned())
    });
    Ok(InitWanted {
        name: name.unwrap_or_else(|| "gateway".to_owned()),
        field: end(field, &arguments.user, &arguments.password_file),
        upstream: end(
            upstream,
            &arguments.upstream_user,
            &arguments.upstream_password_file,
        ),
        want,
    })
}

/// Looks at the broker, and tells what was seen.
fn looked(config: &Config, time: Duration) -> Result<Vec<Ecosystem>, InitFailure> {
    let broker = config.sources.iter().find_map(|source| match &source.kind {
        source::SourceKind::Mqtt(own) => Some(&own.connection),
        _ => None,
    });
    let Some(broker) = broker else {
        return Err(InitFailure::Usage(
            "only a broker can be looked at: give mqtt:// or mqtts:// as --field, or --look 0s"
                .to_owned(),
        ));
    };
    say(&format!(
        "looking at {}:{} for {time:?} …",
        broker.host, broker.port
    ));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| InitFailure::Look(error.to_string()))?;
    let Looked { seen, said } = runtime
        .block_on(look::look(broker, time))
        .map_err(InitFailure::Look)?;
    runtime.shutdown_background();
    let found = recognise(&seen);
    say(&format!(
        "it speaks {said}; {} messages were seen",
        seen.len()
    ));
    for system in &found {
        say(&format!("recognised: {}", system.title()));
    }
    if found.is_empty() {
        let first: BTreeSet<&str> = seen
            .iter()
            .filter_map(|seen| seen.topic.split('/').next())
            .take(1_000)
            .collect();
        let shown: Vec<String> = first
            .iter()
            .take(SHOWN)
            .map(|level| crate::words::line(level, 40))
            .collect();
        say(&format!(
            "nothing was recognised; topics begin with: {}",
            shown.join(", ")
        ));
    }
    Ok(found)
}

/// Reads what is to be written as a gateway would read it in that place.
fn checked(file: &Path, text: &str) -> Result<Config, InitFailure> {
    let sources = Sources {
        secrets: crate::config::Secrets::Elsewhere,
        ..Sources::new(file)
    };
    config::load_text(&sources, text).map_err(InitFailure::Config)
}

/// Writes it under its name, unless somebody else has that by now.
fn publish(path: &Path, text: &str) -> Result<(), InitFailure> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AlreadyExists => InitFailure::IsThere(path.to_owned()),
        _ => InitFailure::Write {
            path: path.to_owned(),
            source,
        },
    };
    let new = OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = new.map_err(failed)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    // Half a config is none.
    written
        .inspect_err(|_| drop(fs::remove_file(path)))
        .map_err(failed)
}

fn time(text: &str) -> Result<Duration, String> {
    let time = config::read_duration(text)?;
    if time > Duration::from_secs(600) {
        return Err("ten minutes at most".to_owned());
    }
    Ok(time)
}
