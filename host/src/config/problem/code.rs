//! Every code a problem of the config can have. A code never changes its meaning and is never used twice.

use crate::config::strict::advice::Advice;

/// What kind of mistake it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProblemCode {
    /// The file cannot be read.
    Unreadable,
    /// It is not TOML.
    Syntax,
    /// A key or table nobody knows.
    UnknownKey,
    /// Text where a number belongs, and the like.
    WrongType,
    /// A duration or size without a unit, or with an unknown one.
    Unit,
    /// Too small or too large.
    OutOfRange,
    /// A required key is not there.
    Missing,
    /// Not one of the words allowed there.
    Choice,
    /// A password written in the open.
    OpenSecret,
    /// What a secret refers to cannot be read.
    SecretUnreadable,
    /// A secret's file can be read by everyone.
    SecretExposed,
    /// A `TIDEGATE_` variable or `--set` that cannot be applied.
    Override,
    /// A name of a source, uplink, flow, class, plugin or port that cannot be one.
    BadName,
    /// What a secret refers to is not there for whoever checks.
    SecretElsewhere,
    /// A source, uplink or class that is not defined.
    Undefined,
    /// Nothing would ever happen: no flow, or a flow without topics.
    Empty,
    /// A topic or topic pattern that MQTT does not allow.
    Topic,
    /// An address that is not one.
    Url,
    /// Two connections to one broker with one client id throw each other out.
    ClientId,
    /// Two plugins of a flow with one name.
    PluginName,
    /// The component's file is not there.
    PluginFile,
    /// No such plugin is compiled in.
    Builtin,
    /// A certificate or key that is missing or is none.
    Certificate,
    /// A route that is not `uplink:class`, a list of them or `drop`.
    Route,
    /// The limits do not fit the memory.
    Memory,
    /// The admin port would be open to the network.
    Exposed,
    /// Planned, but not in this version.
    Later,
    /// Settings that exclude or require one another.
    Conflict,
    /// Defined, and used by nothing.
    Unused,
    /// A key for signatures of plugins that is missing or is none.
    PluginKey,
    /// What a flow sends comes back to it.
    Circle,
    /// The port of TLS without it, or the other way round.
    Port,
    /// A data folder that cannot be made.
    DataDir,
    /// Topics of which nothing says which part is the device's name.
    Nameless,
    /// Something is accepted that is not found.
    Unneeded,
    /// It does nothing beside what else stands there.
    Idle,
    /// A plugin that cannot be used: not a component, wrong world, settings refused.
    Plugin,
    /// What should not go live; only a strict check looks for it.
    Advice(Advice),
}

impl ProblemCode {
    /// Every code with a number, in their order.
    pub const ALL: [Self; 37] = [
        Self::Unreadable,
        Self::Syntax,
        Self::UnknownKey,
        Self::WrongType,
        Self::Unit,
        Self::OutOfRange,
        Self::Missing,
        Self::Choice,
        Self::OpenSecret,
        Self::SecretUnreadable,
        Self::SecretExposed,
        Self::Override,
        Self::BadName,
        Self::SecretElsewhere,
        Self::Undefined,
        Self::Empty,
        Self::Topic,
        Self::Url,
        Self::ClientId,
        Self::PluginName,
        Self::PluginFile,
        Self::Builtin,
        Self::Certificate,
        Self::Route,
        Self::Memory,
        Self::Exposed,
        Self::Later,
        Self::Conflict,
        Self::Unused,
        Self::PluginKey,
        Self::Circle,
        Self::Port,
        Self::DataDir,
        Self::Nameless,
        Self::Unneeded,
        Self::Idle,
        Self::Plugin,
    ];

    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "TG0100",
            Self::Syntax => "TG0101",
            Self::UnknownKey => "TG0102",
            Self::WrongType => "TG0103",
            Self::Unit => "TG0104",
            Self::OutOfRange => "TG0105",
            Self::Missing => "TG0106",
            Self::Choice => "TG0107",
            Self::OpenSecret => "TG0108",
            Self::SecretUnreadable => "TG0109",
            Self::SecretExposed => "TG0110",
            Self::Override => "TG0111",
            Self::BadName => "TG0112",
            Self::SecretElsewhere => "TG0113",
            Self::Undefined => "TG0201",
            Self::Empty => "TG0202",
            Self::Topic => "TG0203",
            Self::Url => "TG0204",
            Self::ClientId => "TG0205",
            Self::PluginName => "TG0206",
            Self::PluginFile => "TG0207",
            Self::Builtin => "TG0208",
            Self::Certificate => "TG0209",
            Self::Route => "TG0210",
            Self::Memory => "TG0211",
            Self::Exposed => "TG0212",
            Self::Later => "TG0213",
            Self::Conflict => "TG0214",
            Self::Unused => "TG0215",
            Self::PluginKey => "TG0216",
            Self::Circle => "TG0217",
            Self::Port => "TG0218",
            Self::DataDir => "TG0219",
            Self::Nameless => "TG0220",
            Self::Unneeded => "TG0221",
            Self::Idle => "TG0222",
            Self::Plugin => "TG0301",
            Self::Advice(advice) => advice.name(),
        }
    }

    /// Why it matters, where its words do not say it.
    pub fn why(self) -> Option<&'static str> {
        match self {
            Self::Advice(advice) => Some(advice.why()),
            _ => None,
        }
    }

    /// Whether it is only a warning: the gateway starts all the same.
    pub fn is_warning(self) -> bool {
        matches!(
            self,
            Self::SecretExposed
                | Self::SecretElsewhere
                | Self::Unused
                | Self::Circle
                | Self::Port
                | Self::Nameless
                | Self::Unneeded
                | Self::Idle
                | Self::Advice(_)
        )
    }

    /// Whether it is about a file that only the flows of its plugins need.
    pub(crate) fn is_of_plugins(self) -> bool {
        matches!(self, Self::PluginFile | Self::PluginKey)
    }

    /// Whether it may be the echo of a syntax error: what is said to be missing may stand in a part that could not
    /// be read.
    pub(crate) fn may_be_an_echo(self) -> bool {
        matches!(
            self,
            Self::Missing | Self::Undefined | Self::Empty | Self::Unused
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_rise_in_the_order_of_their_list_and_none_is_used_twice() {
        assert!(
            ProblemCode::ALL
                .windows(2)
                .all(|pair| pair[0].name() < pair[1].name() && pair[0] < pair[1])
        );
    }
}
