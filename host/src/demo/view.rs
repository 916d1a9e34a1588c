//! What the demo shows: on a terminal a few lines that are refreshed in place under a growing story, elsewhere one
//! line a second.

use std::io::{self, Write};
use std::time::Duration;

use super::scrape::GatewayFigures;
use crate::cli::show;
use crate::sim::SimProgress;

/// Lines are not longer than this even on a wide terminal: figures far apart are hard to read.
const WIDEST: usize = 100;
/// Narrower terminals get lines that wrap.
const NARROWEST: usize = 40;
/// Width where it cannot be told.
const USUAL: usize = 80;

/// One look at everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct DemoSample {
    /// Since the demo began.
    pub at: Duration,
    pub progress: SimProgress,
    /// The gateway's own figures.
    pub figures: GatewayFigures,
    /// Whether the link is cut.
    pub cut: bool,
}

/// How the figures are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Live,
    /// One line a second.
    Lines,
}

/// Writes the story and the figures.
#[derive(Debug)]
pub struct View<W> {
    out: W,
    style: Style,
    width: usize,
    shown: usize,
    before: Option<DemoSample>,
    sent_rate: u64,
    delivered_rate: u64,
    line_at: Duration,
    most_owed: u64,
}

impl<W: Write> View<W> {
    /// `columns` of the terminal, where known.
    pub fn new(out: W, style: Style, columns: Option<usize>) -> Self {
        let width = columns.unwrap_or(USUAL).clamp(NARROWEST, WIDEST);
        Self {
            out,
            style,
            width,
            shown: 0,
            before: None,
            sent_rate: 0,
            delivered_rate: 0,
            line_at: Duration::ZERO,
            most_owed: 1,
        }
    }

    /// A sentence of the story; stays on the screen.
    pub fn tell(&mut self, text: &str) -> io::Result<()> {
        self.wipe()?;
        for line in wrapped(text, self.width) {
            writeln!(self.out, "{line}")?;
        }
        self.out.flush()
    }

    /// Text with lines of its own, which may be commands to copy: not wrapped.
    pub fn print(&mut self, text: &str) -> io::Result<()> {
        self.wipe()?;
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// The figures as of now.
    pub fn show(&mut self, sample: DemoSample) -> io::Result<()> {
        self.measure(sample);
        match self.style {
            Style::Live => {
                self.wipe()?;
                let block = self.block(sample);
                self.shown = block.len();
                for line in block {
                    writeln!(self.out, "{line}")?;
                }
            }
            Style::Lines if sample.at >= self.line_at => {
                self.line_at = Duration::from_secs(sample.at.as_secs() + 1);
                writeln!(self.out, "{}", line(sample))?;
            }
            Style::Lines => {}
        }
        self.out.flush()
    }

    /// Leaves the last figures on the screen.
    pub fn settle(&mut self) {
        self.shown = 0;
    }

    /// Moves up over the last block and clears to the end of the screen.
    fn wipe(&mut self) -> io::Result<()> {
        if self.shown > 0 {
            write!(self.out, "\x1b[{}A\x1b[J", self.shown)?;
            self.shown = 0;
        }
        Ok(())
    }

    /// Rates over the last look, smoothed so that they can be read.
    fn measure(&mut self, sample: DemoSample) {
        self.most_owed = self.most_owed.max(sample.figures.owed);
        if let Some(before) = self.before {
            let micros = u64::try_from((sample.at.saturating_sub(before.at)).as_micros())
                .unwrap_or(u64::MAX)
                .max(1);
            let rate =
                |now: u64, then: u64| now.saturating_sub(then).saturating_mul(1_000_000) / micros;
            self.sent_rate = smooth(
                self.sent_rate,
                rate(sample.progress.sent, before.progress.sent),
            );
            self.delivered_rate = smooth(
                self.delivered_rate,
                rate(sample.progress.delivered, before.progress.delivered),
            );
        }
        self.before = Some(sample);
    }

    fn block(&self, sample: DemoSample) -> Vec<String> {
        let DemoSample {
            at,
            progress,
            figures,
            cut,
        } = sample;
        let rate = |per_second: u64| format!("{}/s", show::count(per_second));
        let rows = [
            String::new(),
            format!(
                "{:>5.1} s   link {}",
                at.as_secs_f64(),
                if cut { "CUT" } else { "up" }
            ),
            format!(
                "devices   sent {:>10}  {:>10}",
                show::count(progress.sent),
                rate(self.sent_rate)
            ),
            format!(
                "gateway   filtered {}   dead letters {}   plugins swapped {}",
                show::count(figures.filtered),
                show::count(figures.dead_letters),
                figures.swaps
            ),
            self.spool_row(figures.owed),
            format!(
                "upstream  delivered {:>5}  {:>10}   doubled {}   out of order {}",
                show::count(progress.delivered),
                rate(self.delivered_rate),
                show::count(progress.doubled),
                progress.out_of_order
            ),
        ];
        rows.into_iter()
            .map(|row| row.chars().take(self.width).collect())
            .collect()
    }

    fn spool_row(&self, owed: u64) -> String {
        let text = format!("spool     owed {:>10}  ", show::count(owed));
        let room = self.width.saturating_sub(text.len() + 2);
        let filled = usize::try_from(owed * room as u64 / self.most_owed)
            .unwrap_or(room)
            .min(room);
        format!(
            "{text}[{}{}]",
            "#".repeat(filled),
            " ".repeat(room - filled)
        )
    }
}

fn smooth(old: u64, new: u64) -> u64 {
    (old + new).div_ceil(2)
}

fn line(sample: DemoSample) -> String {
    let DemoSample {
        at,
        progress,
        figures,
        cut,
    } = sample;
    format!(
        "{:>3} s  link {:<3}  sent {}  filtered {}  dead letters {}  owed {}  delivered {}  swapped {}",
        at.as_secs(),
        if cut { "cut" } else { "up" },
        progress.sent,
        figures.filtered,
        figures.dead_letters,
        figures.owed,
        progress.delivered,
        figures.swaps
    )
}

/// Words in lines of at most `width` characters, each with the indent of the first.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let indent: String = text.chars().take_while(|letter| *letter == ' ').collect();
    let mut lines = Vec::new();
    let mut line = indent.clone();
    for word in text.split_whitespace() {
        let fresh = line.len() == indent.len();
        if !fresh && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::replace(&mut line, indent.clone()));
        } else if !fresh {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: u64, sent: u64, owed: u64) -> DemoSample {
        DemoSample {
            at: Duration::from_secs(seconds),
            progress: SimProgress {
                sent,
                ..SimProgress::default()
            },
            figures: GatewayFigures {
                owed,
                ..GatewayFigures::default()
            },
            cut: false,
        }
    }

    fn text(view: View<Vec<u8>>) -> String {
        String::from_utf8(view.out).unwrap()
    }

    #[test]
    fn away_from_a_terminal_there_is_one_line_a_second_and_no_control_character() {
        let mut view = View::new(Vec::new(), Style::Lines, None);
        view.tell("link cut").unwrap();
        for quarter in 0..9_u64 {
            let at = Duration::from_millis(quarter * 250);
            view.show(DemoSample {
                at,
                ..sample(0, quarter, 0)
            })
            .unwrap();
        }
        let text = text(view);
        assert_eq!(text.lines().count(), 1 + 3);
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn on_a_terminal_the_block_is_replaced_and_the_story_stays() {
        let mut view = View::new(Vec::new(), Style::Live, Some(60));
        view.show(sample(1, 1_000, 10)).unwrap();
        let rows = view.shown;
        view.tell("plugin swapped").unwrap();
        view.show(sample(2, 2_000, 0)).unwrap();
        let text = text(view);
        assert_eq!(text.matches(&format!("\x1b[{rows}A\x1b[J")).count(), 1);
        assert!(text.contains("plugin swapped\n"));
        assert!(text.lines().all(|line| {
            line.trim_start_matches(|letter: char| !letter.is_alphanumeric())
                .chars()
                .count()
                <= 60
        }));
    }

    #[test]
    fn the_spool_bar_is_full_at_the_most_that_was_owed() {
        let mut view = View::new(Vec::new(), Style::Live, Some(60));
        view.measure(sample(1, 0, 500));
        assert_eq!(view.spool_row(500).chars().count(), 60);
        assert!(!view.spool_row(500).contains(" ]"));
        assert!(view.spool_row(0).contains("[ "));
    }

    #[test]
    fn sentences_are_wrapped_at_words_and_keep_their_indent() {
        assert_eq!(wrapped("  one two three", 9), ["  one two", "  three"]);
        assert_eq!(wrapped("", 9), [""]);
    }

    #[test]
    fn commands_to_copy_are_printed_as_they_are() {
        let mut view = View::new(Vec::new(), Style::Lines, Some(40));
        let command = "  mosquitto_pub -h 127.0.0.1 -p 1883 -t devices/hand/telemetry -m '{}'";
        view.print(&format!("Send:\n{command}")).unwrap();
        assert_eq!(text(view), format!("Send:\n{command}\n"));
    }
}
