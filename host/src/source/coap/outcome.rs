//! What becomes of a request, each outcome with its code, what goes with it, and what the operator hears of it.

use super::block::Block;
use super::datagram::uint;

const MAX_AGE: u16 = 14;
pub(super) const BLOCK1: u16 = 27;
pub(super) const SIZE1: u16 = 60;

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CoapOutcome {
    /// Its message is settled.
    Settled,
    /// The block is here, and the next one may come.
    Continue,
    /// Path, size of a block or length of an option are not what they should be.
    Unfit(&'static str),
    /// An option that it may not be taken without, and that is not known.
    Option(u16),
    /// No flow takes the topic.
    Unrouted(String),
    /// Nothing is shown here.
    NotThere,
    /// Neither POST nor PUT.
    Method,
    /// A block for which those before it are not there.
    Incomplete,
    /// The body is over `max_payload`, which has so many bytes.
    TooLarge(usize),
    /// The body is packed.
    Packed,
    /// No room for more until something settles.
    Full,
    /// Not settled in time.
    Unsettled,
    Leaving,
    /// It is to be handed on to another server.
    Proxy,
}

/// All codes, for a metric.
pub(super) const CODES: [u8; 11] = [
    code(2, 4),
    code(2, 31),
    code(4, 0),
    code(4, 2),
    code(4, 4),
    code(4, 5),
    code(4, 8),
    code(4, 13),
    code(4, 15),
    code(5, 3),
    code(5, 5),
];

const fn code(class: u8, detail: u8) -> u8 {
    class << 5 | detail
}

/// As people write it.
pub(super) fn written(code: u8) -> String {
    format!("{}.{:02}", code >> 5, code & 0x1F)
}

impl CoapOutcome {
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Settled => code(2, 4),
            Self::Continue => code(2, 31),
            Self::Unfit(_) => code(4, 0),
            Self::Option(_) => code(4, 2),
            Self::Unrouted(_) | Self::NotThere => code(4, 4),
            Self::Method => code(4, 5),
            Self::Incomplete => code(4, 8),
            Self::TooLarge(_) => code(4, 13),
            Self::Packed => code(4, 15),
            Self::Full | Self::Unsettled | Self::Leaving => code(5, 3),
            Self::Proxy => code(5, 5),
        }
    }

    /// What is wrong, in words for the log; nothing where nothing is.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Settled | Self::Continue => String::new(),
            Self::Unfit(why) => (*why).to_owned(),
            Self::Option(number) => format!("option {number} is critical and not known, or there too often, or too long"),
            Self::Unrouted(why) => why.clone(),
            Self::NotThere => "no resources are listed here".to_owned(),
            Self::Method => "POST or PUT messages here".to_owned(),
            Self::Incomplete => "a block came without those before it, or too late".to_owned(),
            Self::TooLarge(most) => format!("the body has more than {most} bytes (`max_payload`)"),
            Self::Packed => "a packed body is not taken".to_owned(),
            Self::Full => {
                "as much is under way as may be (`max_unsettled`, `max_exchanges`): see the spool and its uplinks".to_owned()
            }
            Self::Unsettled => "the message is not safe within `settle_within`".to_owned(),
            Self::Leaving => "the gateway ends".to_owned(),
            Self::Proxy => "nothing is handed on to other servers".to_owned(),
        }
    }

    /// Whether the client got what it asked for.
    pub(super) fn is_good(&self) -> bool {
        matches!(self, Self::Settled | Self::Continue)
    }

    /// Whether the same request would be answered with the same again: it need not be remembered.
    pub(super) fn is_certain(&self) -> bool {
        !self.is_good()
            && !matches!(
                self,
                Self::Full | Self::Unsettled | Self::Leaving | Self::Incomplete
            )
    }

    /// The options that go with it, to a request that had `block`. No words: an answer is to be no larger than what asked for it,
    /// since whose address stands on a datagram is not known.
    pub(super) fn options(&self, block: Option<Block>) -> impl Iterator<Item = (u16, Vec<u8>)> {
        let age = match self {
            // What is full settles within a commit or a round trip; what has waited for long needs more.
            Self::Full => Some(1),
            Self::Unsettled | Self::Leaving => Some(5),
            _ => None,
        };
        let block = block.filter(|_| self.is_good());
        let size = match self {
            Self::TooLarge(most) => u32::try_from(*most).ok(),
            _ => None,
        };
        let age = age.map(|seconds| (MAX_AGE, uint(seconds)));
        let block = block.map(|block| (BLOCK1, block.value()));
        let size = size.map(|most| (SIZE1, uint(most)));
        age.into_iter().chain(block).chain(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_a_code_that_is_counted_and_says_what_is_wrong() {
        let all = [
            CoapOutcome::Settled,
            CoapOutcome::Continue,
            CoapOutcome::Unfit("why"),
            CoapOutcome::Option(9),
            CoapOutcome::Unrouted("why".to_owned()),
            CoapOutcome::NotThere,
            CoapOutcome::Method,
            CoapOutcome::Incomplete,
            CoapOutcome::TooLarge(1_000),
            CoapOutcome::Packed,
            CoapOutcome::Full,
            CoapOutcome::Unsettled,
            CoapOutcome::Leaving,
            CoapOutcome::Proxy,
        ];
        for outcome in all {
            assert!(CODES.contains(&outcome.code()), "{outcome:?}");
            assert_eq!(outcome.words().is_empty(), outcome.is_good());
            let is_told_when = outcome.options(None).any(|(number, _)| number == MAX_AGE);
            assert_eq!(is_told_when, outcome.code() == code(5, 3), "{outcome:?}");
            assert_eq!(outcome.code() >> 5 == 2, outcome.is_good());
        }
        assert_eq!(written(code(2, 4)), "2.04");
        assert_eq!(written(code(4, 13)), "4.13");
    }
}
