//! What a run must keep, for whoever lets a script judge it: `connect-p99=500ms`, `connected=99%`.

use std::str::FromStr;
use std::time::Duration;

use super::latency::Quantiles;
use super::report::SimReport;
use crate::config::read_duration;

/// A figure of the report and how far it may go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SimLimit {
    figure: Figure,
    bound: Bound,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure {
    /// Share of connections that stood at the first attempt.
    Connected,
    /// Messages sent a second.
    Rate,
    Connect(Quantile),
    Latency(Quantile),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantile {
    P50,
    P95,
    P99,
    P999,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    /// No less than this: percent, or messages a second.
    AtLeast(f64),
    AtMost(Duration),
}

const FIGURES: [(&str, Figure); 12] = [
    ("connected", Figure::Connected),
    ("rate", Figure::Rate),
    ("connect-p50", Figure::Connect(Quantile::P50)),
    ("connect-p95", Figure::Connect(Quantile::P95)),
    ("connect-p99", Figure::Connect(Quantile::P99)),
    ("connect-p999", Figure::Connect(Quantile::P999)),
    ("connect-max", Figure::Connect(Quantile::Max)),
    ("latency-p50", Figure::Latency(Quantile::P50)),
    ("latency-p95", Figure::Latency(Quantile::P95)),
    ("latency-p99", Figure::Latency(Quantile::P99)),
    ("latency-p999", Figure::Latency(Quantile::P999)),
    ("latency-max", Figure::Latency(Quantile::Max)),
];

impl SimLimit {
    /// Whether it is about what arrives at a broker that is watched.
    pub fn needs_a_watch(&self) -> bool {
        matches!(self.figure, Figure::Latency(_))
    }

    /// In words, where the report is beyond it. A figure that there is none of keeps no limit: nothing arrived at all.
    pub(super) fn exceeded(&self, report: &SimReport) -> Option<String> {
        let name = self.figure.name();
        match self.bound {
            Bound::AtLeast(least) => {
                let is = match self.figure {
                    Figure::Connected => share(&report.connections),
                    _ => report.rate,
                };
                let unit = if self.figure == Figure::Connected {
                    "%"
                } else {
                    "/s"
                };
                (is < least)
                    .then(|| format!("{name} is {is:.1}{unit}, at least {least}{unit} is wanted"))
            }
            Bound::AtMost(most) => {
                let Some(is) = self.time(report) else {
                    return Some(format!("{name} is unknown: there was none"));
                };
                (is > most).then(|| {
                    format!(
                        "{name} is {:.2} ms, at most {:.2} ms is wanted",
                        millis(is),
                        millis(most)
                    )
                })
            }
        }
    }

    fn time(&self, report: &SimReport) -> Option<Duration> {
        let (quantiles, quantile) = match self.figure {
            Figure::Connect(quantile) if report.connections.connected > 0 => {
                (report.connections.connect_us, quantile)
            }
            Figure::Latency(quantile) => {
                let watched = report.watched.as_ref()?;
                (watched.delivered > 0).then_some((watched.latency_us, quantile))?
            }
            _ => return None,
        };
        Some(Duration::from_micros(quantile.of(quantiles)))
    }
}

impl Figure {
    fn name(self) -> &'static str {
        FIGURES
            .iter()
            .find(|(_, figure)| *figure == self)
            .map_or("", |(name, _)| name)
    }
}

impl Quantile {
    fn of(self, quantiles: Quantiles) -> u64 {
        match self {
            Self::P50 => quantiles.p50,
            Self::P95 => quantiles.p95,
            Self::P99 => quantiles.p99,
            Self::P999 => quantiles.p999,
            Self::Max => quantiles.max,
        }
    }
}

fn share(connections: &super::GatheringReport) -> f64 {
    f64::from(connections.connected) * 100.0 / f64::from(connections.wanted.max(1))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

impl FromStr for SimLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .ok_or("a limit is NAME=VALUE, such as connect-p99=500ms")?;
        let Some((_, figure)) = FIGURES.iter().find(|(known, _)| *known == name) else {
            let known = FIGURES.map(|(name, _)| name).join(", ");
            return Err(format!(
                "there is no figure of that name; there are {known}"
            ));
        };
        let number = |text: &str| {
            let number = text.parse::<f64>().ok();
            number.filter(|number| number.is_finite() && *number >= 0.0)
        };
        let bound = match figure {
            Figure::Connected => value
                .strip_suffix('%')
                .and_then(number)
                .filter(|percent| *percent <= 100.0)
                .map(Bound::AtLeast)
                .ok_or("the share of connections is a percentage: connected=99%")?,
            Figure::Rate => number(value)
                .map(Bound::AtLeast)
                .ok_or("a rate is messages a second: rate=900")?,
            Figure::Connect(_) | Figure::Latency(_) => Bound::AtMost(read_duration(value)?),
        };
        Ok(Self {
            figure: *figure,
            bound,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::GatheringReport;

    fn report() -> SimReport {
        SimReport {
            sent: 100,
            accepted: 100,
            broken: 0,
            refused: 0,
            unanswered: 0,
            resent: 0,
            reconnects: 0,
            seconds: 1.0,
            rate: 100.0,
            connections: GatheringReport {
                wanted: 200,
                connected: 199,
                failed: 1,
                failure: None,
                seconds: 1.0,
                connect_us: Quantiles {
                    p50: 1_000,
                    p95: 2_000,
                    p99: 3_000,
                    p999: 4_000,
                    max: 5_000,
                },
            },
            wills: None,
            watched: None,
            exceeded: Vec::new(),
        }
    }

    fn exceeded(limit: &str) -> Vec<String> {
        report().held_to(&[limit.parse().unwrap()]).exceeded
    }

    #[test]
    fn a_figure_at_its_limit_keeps_it_and_one_beyond_is_told() {
        for kept in [
            "connected=99.5%",
            "rate=100",
            "connect-p99=3ms",
            "connect-max=1s",
        ] {
            assert!(exceeded(kept).is_empty(), "{kept}");
        }
        assert_eq!(
            exceeded("connected=99.6%"),
            ["connected is 99.5%, at least 99.6% is wanted"]
        );
        assert_eq!(
            exceeded("connect-p999=3ms"),
            ["connect-p999 is 4.00 ms, at most 3.00 ms is wanted"]
        );
        assert_eq!(
            exceeded("rate=101"),
            ["rate is 100.0/s, at least 101/s is wanted"]
        );
        assert_eq!(
            exceeded("latency-p50=1h"),
            ["latency-p50 is unknown: there was none"]
        );
        assert!(!report().held_to(&["rate=101".parse().unwrap()]).is_good());
        assert!(report().held_to(&[]).is_good());
    }

    #[test]
    fn what_is_no_limit_is_refused_with_what_there_is() {
        for (text, part) in [
            ("connect-p99", "NAME=VALUE"),
            ("speed=1", "connect-p99"),
            ("connected=99", "percentage"),
            ("connected=101%", "percentage"),
            ("rate=fast", "messages a second"),
            ("rate=NaN", "messages a second"),
            ("connect-p99=500", ""),
        ] {
            let refused = text.parse::<SimLimit>().unwrap_err();
            assert!(refused.contains(part), "{text}: {refused}");
        }
    }
}
