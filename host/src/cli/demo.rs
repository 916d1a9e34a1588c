//! `tidegate demo`: the main job on embedded defaults.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::sim::failed;
use super::{Global, OutputFormat, print, say};
use crate::demo::{self, Closing, Config, DemoOutcome, Style, View};
use crate::exit::Exit;

const ABOUT: &str = "\
Starts two brokers and a gateway as processes of their own, on free loopback ports and in a temporary folder, and \
plays an outage: traffic; the link upstream cut and the spool filling; two plugins swapped meanwhile; the link back \
and the spool draining; a tally in which every message has one fate. Nothing of it is left afterwards.

Examples:
  tidegate demo
  tidegate demo --rate 5000 --seconds 20
  tidegate demo --keep                 to go on by hand with mosquitto_pub and mosquitto_sub
  tidegate demo -o json                the closing tally as one JSON object; the story goes to standard error

Exit code 0: nothing was lost; 1: something was, or the demo was interrupted.";

/// Arguments of `tidegate demo`.
#[derive(Clone, Debug, Args)]
#[command(after_help = ABOUT)]
pub struct Arguments {
    /// Keep brokers and gateway running after the tally, until Ctrl-C, and print how to try them by hand
    #[arg(long)]
    pub keep: bool,
    /// Messages a second over all devices
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub rate: u32,
    /// Number of devices
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub devices: u32,
    /// How long the devices send
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(5..=3_600))]
    pub seconds: u64,
}

/// Why there is no tally.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// No runtime, or this program's own file is not to be found.
    #[error("cannot set up the demo")]
    Setup(#[source] io::Error),
    #[error(transparent)]
    Demo(#[from] demo::Error),
}

pub fn run(global: &Global, arguments: &Arguments) -> Exit {
    match play(global.output, arguments) {
        Ok(DemoOutcome::Played(closing)) if closing.is_good() => Exit::Done,
        Ok(DemoOutcome::Played(_)) => Exit::Failed,
        Ok(DemoOutcome::Interrupted) => {
            say("interrupted");
            Exit::Failed
        }
        Err(error) => failed(&error),
    }
}

fn play(output: OutputFormat, arguments: &Arguments) -> Result<DemoOutcome, Error> {
    let config = Config {
        program: std::env::current_exe().map_err(Error::Setup)?,
        folder: folder(),
        devices: arguments.devices,
        rate: arguments.rate,
        sending: Duration::from_secs(arguments.seconds),
        keep: arguments.keep,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Setup)?;
    Ok(match output {
        OutputFormat::Text => runtime.block_on(demo::run(config, text_view(), tell))?,
        OutputFormat::Json => runtime.block_on(demo::run(
            config,
            View::new(io::stderr(), Style::Lines, None),
            print_json,
        ))?,
    })
}

fn folder() -> PathBuf {
    std::env::temp_dir().join(format!(
        "tidegate-demo-{}-{:08x}",
        std::process::id(),
        fastrand::u32(..)
    ))
}

fn text_view() -> View<io::Stdout> {
    let stdout = io::stdout();
    let style = if stdout.is_terminal() {
        Style::Live
    } else {
        Style::Lines
    };
    let columns = rustix::termios::tcgetwinsize(stdout.as_fd())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0);
    View::new(stdout, style, columns)
}

fn tell(closing: &Closing) {
    print(&format!("\nClosing tally, in input messages\n{closing}"));
}

fn print_json(closing: &Closing) {
    print(
        &serde_json::to_string(&closing.tally).expect("numbers under fixed names always serialise"),
    );
}
