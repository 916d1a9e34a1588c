//! `tidegate top`: what passes through a running gateway, as it passes.

mod pace;
mod table;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::Args;

use self::pace::Throughput;
use super::place::{CommandFailure, DataDirArgument, running};
use super::terminal::screen::{Key, Screen};
use super::{Global, OutputFormat, Surroundings, print, print_json};
use crate::admin::Client;
use crate::config::read_duration;
use crate::exit::Exit;
use crate::gateway::api::status::Status;

const EXAMPLES: &str = "\
Examples:
  tidegate top                       until q is pressed
  tidegate top --every 10s           looking every ten seconds
  tidegate top --times 1             what passes within one second, once, for a script
  tidegate top -o json | jq '.queues[] | {name, owed, in_per_s, out_per_s}'

On a terminal it fills the screen; q or Ctrl-C ends it, the arrows move what is shown, the space bar holds it still. \
Elsewhere it prints one table, or one line of JSON, each time. What stands there is the account of `tidegate status` and \
its change since the look before.

  cpu         processor time of a plugin, all its lanes together; 100 % is one processor
  time 3 %    the limit that a plugin came nearest to of late, and how near
  owed        in RAM and on disk";

/// Arguments of `tidegate top`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// How often it looks, a hundred milliseconds at least.
    #[arg(long, value_name = "TIME", value_parser = read_duration, default_value = "1s")]
    every: Duration,
    /// Look so many times, then end.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    times: Option<u32>,
    #[command(flatten)]
    at: DataDirArgument,
}

/// No more often: each look has the gateway make its whole account.
const AT_MOST: Duration = Duration::from_millis(100);

pub fn run(global: &Global, arguments: &Arguments, surroundings: Surroundings) -> Exit {
    let what = "nothing passes through a gateway that is off";
    let shown = running(global, &arguments.at, surroundings, what).and_then(|client| {
        let is_screen = global.output == OutputFormat::Text && std::io::stdout().is_terminal();
        if is_screen {
            on_screen(&client, arguments, global.colour(surroundings))
        } else {
            in_lines(&client, arguments, global.output)
        }
    });
    match shown {
        Ok(()) => Exit::Done,
        Err(failure) => failure.end(),
    }
}

/// Two accounts and the time between them.
struct Looks<'a> {
    client: &'a Client,
    before: (Instant, Status),
}

impl<'a> Looks<'a> {
    fn begin(client: &'a Client) -> Result<Self, CommandFailure> {
        let before = (Instant::now(), client.get("/v1/status")?);
        Ok(Self { client, before })
    }

    /// What has passed since the look before.
    fn look(&mut self) -> Result<Throughput, CommandFailure> {
        let now = (Instant::now(), self.client.get("/v1/status")?);
        let passed = now.0.saturating_duration_since(self.before.0);
        let pace = Throughput::between(&self.before.1, &now.1, passed);
        self.before = now;
        Ok(pace)
    }
}

fn in_lines(
    client: &Client,
    arguments: &Arguments,
    output: OutputFormat,
) -> Result<(), CommandFailure> {
    let mut looks = Looks::begin(client)?;
    let mut left = arguments.times;
    while left != Some(0) {
        std::thread::sleep(arguments.every.max(AT_MOST));
        let pace = looks.look()?;
        match output {
            OutputFormat::Text => print(&table::lines(&pace, table::PLAIN_WIDTH).join("\n")),
            OutputFormat::Json => print_json(&pace),
        }
        left = left.map(|left| left - 1);
    }
    Ok(())
}

fn on_screen(client: &Client, arguments: &Arguments, colour: bool) -> Result<(), CommandFailure> {
    let mut looks = Looks::begin(client)?;
    let screen = Screen::open(colour)
        .map_err(|error| CommandFailure::Said(format!("the terminal cannot be used: {error}")))?;
    let (mut from, mut is_held, mut left) = (0_usize, false, arguments.times);
    let mut lines = vec!["looking…".to_owned()];
    let mut due = Instant::now() + arguments.every.max(AT_MOST);
    while left != Some(0) {
        from = from.min(lines.len().saturating_sub(1));
        screen.show(&lines[from..]);
        match screen.key(due.saturating_duration_since(Instant::now())) {
            Some(Key::Quit) => return Ok(()),
            Some(Key::Up) => from = from.saturating_sub(1),
            Some(Key::Down) => from += 1,
            Some(Key::Hold) => is_held = !is_held,
            None => {
                due = Instant::now() + arguments.every.max(AT_MOST);
                if is_held {
                    continue;
                }
                // One that was started again is looked at again.
                lines = match looks.look() {
                    Ok(pace) => table::lines(&pace, screen.width()),
                    Err(failure) => vec![format!("{failure}; looking again")],
                };
                left = left.map(|left| left - 1);
            }
        }
    }
    Ok(())
}
