//! The closing tally: every input message has one fate, and the fates add up to what was sent.

use std::fmt;

use serde::Serialize;

use super::scrape::GatewayFigures;
use crate::cli::show;
use crate::sim::SimProgress;

/// All figures count input messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClosingTally {
    /// Acknowledged by the field broker to the devices.
    pub sent: u64,
    /// Different ones seen upstream, read off the payloads there.
    pub delivered: u64,
    /// Still in the spool.
    pub owed: u64,
    /// Parked with a reason; the demo sends some broken payloads on purpose.
    pub dead_letters: u64,
    /// Dropped on purpose by a plugin.
    pub filtered: u64,
    /// Gone into a plugin's state on purpose.
    pub absorbed: u64,
    /// None of the above.
    pub lost: u64,
    /// Seen upstream again: at least once allows them.
    pub duplicates: u64,
}

/// The tally and whether it can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    pub tally: ClosingTally,
    /// Messages that have more than one fate; 0 when the tally adds up.
    pub surplus: u64,
    /// Readings above 20 °C that never arrived: known from what was sent, whatever the gateway counts.
    pub missing: u64,
    /// First arrivals after a later one of the same device.
    pub out_of_order: u64,
}

impl Closing {
    /// From what the devices and the watcher know, and what the gateway counts.
    pub fn new(progress: SimProgress, figures: GatewayFigures) -> Self {
        let fates = [
            progress.delivered,
            figures.owed,
            figures.dead_letters,
            figures.filtered,
            figures.absorbed,
        ];
        let known: u64 = fates.into_iter().sum();
        let tally = ClosingTally {
            sent: progress.accepted,
            delivered: progress.delivered,
            owed: figures.owed,
            dead_letters: figures.dead_letters,
            filtered: figures.filtered,
            absorbed: figures.absorbed,
            lost: progress
                .accepted
                .saturating_sub(known)
                .max(progress.missing),
            duplicates: progress.doubled,
        };
        Self {
            tally,
            surplus: known.saturating_sub(progress.accepted),
            missing: progress.missing,
            out_of_order: progress.out_of_order,
        }
    }

    /// Nothing lost, nothing counted twice, nothing out of order.
    pub fn is_good(&self) -> bool {
        self.tally.lost == 0 && self.surplus == 0 && self.out_of_order == 0
    }
}

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ClosingTally {
            sent,
            delivered,
            owed,
            dead_letters,
            filtered,
            absorbed,
            lost,
            duplicates,
        } = self.tally;
        let mut line = |name: &str, count: u64, note: &str| {
            let text = format!("  {name:<14}{:>12}   {note}", show::count(count));
            writeln!(f, "{}", text.trim_end())
        };
        line("sent", sent, "acknowledged to the devices")?;
        line("delivered", delivered, "seen upstream, each counted once")?;
        line("filtered", filtered, "dropped on purpose by a plugin")?;
        line(
            "dead letters",
            dead_letters,
            "broken payloads, kept with the reason",
        )?;
        line("absorbed", absorbed, "")?;
        line("owed", owed, "still in the spool")?;
        line("lost", lost, "")?;
        line(
            "duplicates",
            duplicates,
            "seen upstream again, as at-least-once allows",
        )?;
        if self.surplus > 0 {
            line(
                "surplus",
                self.surplus,
                "counted more than once: the tally does not add up",
            )?;
        }
        if self.out_of_order > 0 {
            line(
                "out of order",
                self.out_of_order,
                "overtaken by a later one of their device",
            )?;
        }
        let verdict = match self.missing {
            0 => "every reading above 20 °C arrived".to_owned(),
            missing => format!(
                "{} readings above 20 °C never arrived",
                show::count(missing)
            ),
        };
        write!(f, "  {verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(accepted: u64, delivered: u64, missing: u64) -> SimProgress {
        SimProgress {
            sent: accepted,
            accepted,
            delivered,
            missing,
            ..SimProgress::default()
        }
    }

    fn figures(owed: u64, dead_letters: u64, filtered: u64) -> GatewayFigures {
        GatewayFigures {
            owed,
            dead_letters,
            filtered,
            ..GatewayFigures::default()
        }
    }

    #[test]
    fn fates_that_add_up_leave_nothing_lost() {
        let closing = Closing::new(progress(100, 60, 0), figures(5, 3, 32));
        assert!(closing.is_good());
        assert_eq!((closing.tally.lost, closing.surplus), (0, 0));
    }

    #[test]
    fn what_has_no_fate_is_lost() {
        let closing = Closing::new(progress(100, 59, 0), figures(5, 3, 32));
        assert_eq!(closing.tally.lost, 1);
        assert!(!closing.is_good());
    }

    #[test]
    fn a_missing_reading_is_lost_even_if_the_gateways_counters_hide_it() {
        let closing = Closing::new(progress(100, 59, 1), figures(5, 3, 33));
        assert_eq!(closing.tally.lost, 1);
        assert!(!closing.is_good());
    }

    #[test]
    fn a_surplus_is_not_taken_for_a_good_tally() {
        let closing = Closing::new(progress(100, 60, 0), figures(5, 3, 33));
        assert_eq!((closing.tally.lost, closing.surplus), (0, 1));
        assert!(!closing.is_good());
        assert!(closing.to_string().contains("does not add up"));
    }

    #[test]
    fn json_has_exactly_the_promised_names() {
        let json = serde_json::to_value(ClosingTally::default()).unwrap();
        let mut names: Vec<_> = json
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "absorbed",
                "dead_letters",
                "delivered",
                "duplicates",
                "filtered",
                "lost",
                "owed",
                "sent"
            ]
        );
    }
}
