//! `tidegate demo`: the main job on embedded defaults.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::sim::Output;
use crate::demo::{self, Closing, Component, Config, Outcome, Style, View};

/// What a shell makes of a process that SIGINT ended: 128 + 2.
const INTERRUPTED: u8 = 130;

const ABOUT_KEEP: &str = "\
Starts two brokers and a gateway as processes of their own, on free loopback ports and in a temporary folder, and \
plays an outage: traffic; the link upstream cut and the spool filling; two plugins swapped meanwhile; the link back \
and the spool draining; a tally in which every message has one fate. Nothing of it is left afterwards.

Exit code 0: nothing lost; 1: something was; 130: interrupted.";

/// What it is told.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = ABOUT_KEEP)]
pub struct Args {
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
    /// How the closing tally is printed; with json the story goes to standard error
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Why there is no tally.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No runtime, or this program's own file is not to be found.
    #[error("cannot set up the demo")]
    Setup(#[source] io::Error),
    /// The demo itself.
    #[error(transparent)]
    Demo(#[from] demo::Error),
}

/// Plays the demo with these plugins unpacked.
pub fn run(args: &Args, plugins: Vec<Component>) -> Result<ExitCode, Error> {
    let config = Config {
        program: std::env::current_exe().map_err(Error::Setup)?,
        folder: folder(),
        plugins,
        devices: args.devices,
        rate: args.rate,
        sending: Duration::from_secs(args.seconds),
        keep: args.keep,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Setup)?;
    let outcome = match args.output {
        Output::Text => runtime.block_on(demo::run(config, text_view(), tell))?,
        Output::Json => runtime.block_on(demo::run(config, View::new(io::stderr(), Style::Lines, None), print_json))?,
    };
    Ok(match outcome {
        Outcome::Played(closing) if closing.is_good() => ExitCode::SUCCESS,
        Outcome::Played(_) => ExitCode::FAILURE,
        Outcome::Interrupted => ExitCode::from(INTERRUPTED),
    })
}

fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("tidegate-demo-{}-{:08x}", std::process::id(), fastrand::u32(..)))
}

fn text_view() -> View<io::Stdout> {
    let stdout = io::stdout();
    let style = if stdout.is_terminal() { Style::Live } else { Style::Lines };
    let columns =
        rustix::termios::tcgetwinsize(stdout.as_fd()).ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
    View::new(stdout, style, columns)
}

fn tell(closing: &Closing) {
    // A reader who went away (`| head`) misses the tally; the exit code still says how it ended.
    let _ = writeln!(io::stdout(), "\nClosing tally, in input messages\n{closing}");
}

fn print_json(closing: &Closing) {
    let mut out = io::stdout().lock();
    // As above.
    let _ = serde_json::to_writer(&mut out, &closing.tally)
        .map_err(io::Error::from)
        .and_then(|()| writeln!(out))
        .and_then(|()| out.flush());
}
