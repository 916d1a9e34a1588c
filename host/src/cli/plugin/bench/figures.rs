//! Figures out of rounds: the median, and between what the middle half of the rounds lies. A mean would be moved by one round in
//! which the machine did something else.

use serde::Serialize;

/// What many rounds came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct RoundSpread {
    pub(super) median: f64,
    /// A quarter of the rounds is below.
    pub(super) low: f64,
    /// A quarter of the rounds is above.
    pub(super) high: f64,
}

impl RoundSpread {
    /// Of these; `None` of nothing.
    pub(super) fn of(mut rounds: Vec<f64>) -> Option<Self> {
        rounds.sort_by(f64::total_cmp);
        let last = rounds.len().checked_sub(1)?;
        let at = |quarters: usize| {
            // Between two rounds it is on the line from one to the other.
            let (whole, rest) = (last * quarters / 4, last * quarters % 4);
            let below = rounds[whole];
            let above = rounds[(whole + 1).min(last)];
            below + (above - below) * rest as f64 / 4.0
        };
        Some(Self {
            median: at(2),
            low: at(1),
            high: at(3),
        })
    }
}

/// How much longer the one takes than the other, round by round: both of a round were measured one after the other.
pub(super) fn ratio(one: &[f64], other: &[f64]) -> Option<RoundSpread> {
    let ratios = one.iter().zip(other).map(|(one, other)| one / other);
    RoundSpread::of(ratios.filter(|ratio| ratio.is_finite()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarters_lie_where_they_are_said_to() {
        let spread = |rounds: &[f64]| RoundSpread::of(rounds.to_vec());
        let expected = |median, low, high| Some(RoundSpread { median, low, high });
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[7.0]), expected(7.0, 7.0, 7.0));
        assert_eq!(spread(&[4.0, 2.0]), expected(3.0, 2.5, 3.5));
        assert_eq!(
            spread(&[5.0, 1.0, 4.0, 2.0, 900.0]),
            expected(4.0, 2.0, 5.0)
        );
    }

    #[test]
    fn a_ratio_is_of_rounds_side_by_side() {
        // The machine was half as fast in the last round, for both.
        let spread = ratio(&[10.0, 20.0, 40.0], &[5.0, 10.0, 20.0]);
        let same = 2.0;
        assert_eq!(
            spread,
            Some(RoundSpread {
                median: same,
                low: same,
                high: same
            })
        );
        assert_eq!(ratio(&[1.0], &[0.0]), None);
    }
}
