//! What is said of a part, by who may read it: the one place that keeps what came from outside off the loopback port.

/// Where the rest is read.
const MORE: &str = " (`tidegate health` says more)";

/// Who reads a report.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reader {
    /// Whoever may use the loopback port, and whoever a prober tells.
    Anybody,
    /// Over the control socket.
    Operator,
}

/// Words of a part. What a device, a plugin, upstream or the system has said, addresses and paths are for the operator alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words {
    /// The gateway's own: fixed words, numbers, and names that stand in the config.
    open: String,
    /// All there is to say.
    all: String,
}

impl Words {
    /// The gateway's own words, which hold nothing from outside.
    pub(super) fn own(words: impl Into<String>) -> Self {
        let all = words.into();
        Self {
            open: all.clone(),
            all,
        }
    }

    /// `all` for the operator, and for others the gateway's `own` words.
    pub(super) fn kept(own: impl Into<String>, all: String) -> Self {
        Self {
            open: own.into() + MORE,
            all,
        }
    }

    /// As one, with `between` between them.
    pub(super) fn join(words: &[Self], between: &str) -> Self {
        let open: Vec<_> = words.iter().map(|one| one.open.as_str()).collect();
        let all: Vec<_> = words.iter().map(|one| one.all.as_str()).collect();
        let open = open.join(between);
        let hints = open.matches(MORE).count();
        Self {
            // Once is enough.
            open: open.replacen(MORE, "", hints.saturating_sub(1)),
            all: all.join(between),
        }
    }

    /// What this reader is told.
    pub(super) fn to(self, reader: Reader) -> String {
        match reader {
            Reader::Anybody => self.open,
            Reader::Operator => self.all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_reaches_the_operator_alone() {
        let words = Words::join(
            &[
                Words::kept(
                    "1 message waits",
                    "1 message waits: `devices/zebra`".to_owned(),
                ),
                Words::own("2 are late"),
                Words::kept("no answer", "no answer from 10.0.0.7".to_owned()),
            ],
            "; ",
        );
        assert_eq!(
            words.clone().to(Reader::Anybody),
            "1 message waits; 2 are late; no answer (`tidegate health` says more)"
        );
        assert_eq!(
            words.to(Reader::Operator),
            "1 message waits: `devices/zebra`; 2 are late; no answer from 10.0.0.7"
        );
    }
}
