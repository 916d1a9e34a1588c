//! How the process ends: the exit codes scripts and service managers may rely on.

use std::process::ExitCode;

/// The exit codes. A code never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    /// It failed; the last line says why.
    Failed = 1,
    /// The command line is wrong (clap ends with this by itself).
    Usage = 2,
    /// The config is invalid; nothing was started.
    Config = 3,
    /// The config is fine, but a plugin cannot be used; nothing was started.
    Plugin = 4,
    /// There is no gateway to talk to.
    NotRunning = 5,
    /// What was asked for was refused, or taken back: what ran before runs on. Of a replay: it was to be the same, and
    /// is not. Of a strict check: it should not go live.
    Refused = 6,
    /// The gateway runs, and does its job in part only: nothing comes in, nothing goes upstream, or its store is not well.
    Degraded = 7,
}

/// For the end of `--help`.
pub const TABLE: &str = "\
Exit codes:
  0  all went well              3  the config is invalid
  1  failed                     4  a plugin cannot be used
  2  wrong command line         5  there is no gateway to talk to
  6  refused or taken back: what ran before runs on; replay --expect-same: something differs;
     check --strict: something is neither mended nor accepted
  7  status: the gateway runs, but no source or no uplink is connected, or its store is not well;
     health: a part of it is degraded; check --connect: a source or an uplink does not work;
     doctor: something has failed";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_the_documented_ones() {
        let codes = [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::Config,
            Exit::Plugin,
            Exit::NotRunning,
            Exit::Refused,
            Exit::Degraded,
        ];
        assert_eq!(codes.map(|exit| exit as u8), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert!((0..=7).all(|code| TABLE.contains(&format!("{code}  "))));
    }
}
