//! What can be found, by name. A name never changes its meaning.

/// A kind of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Advice {
    PlainTcp,
    OpenPort,
    NoIdentity,
    Qos0,
    AckReceived,
    NoAlarmClass,
    AlarmsDropped,
    CommandsWithoutExpiry,
    LossesUntold,
    OutageUntold,
    UnsignedPlugins,
    ForeignSecret,
    SecretInEnvironment,
    RecordingToDisk,
    FilesWithoutKeep,
    VerboseLog,
    DataInTmp,
    DefaultName,
}

impl Advice {
    pub const ALL: [Self; 18] = [
        Self::PlainTcp,
        Self::OpenPort,
        Self::NoIdentity,
        Self::Qos0,
        Self::AckReceived,
        Self::NoAlarmClass,
        Self::AlarmsDropped,
        Self::CommandsWithoutExpiry,
        Self::LossesUntold,
        Self::OutageUntold,
        Self::UnsignedPlugins,
        Self::ForeignSecret,
        Self::SecretInEnvironment,
        Self::RecordingToDisk,
        Self::FilesWithoutKeep,
        Self::VerboseLog,
        Self::DataInTmp,
        Self::DefaultName,
    ];

    /// As it is printed, and as it is accepted.
    pub fn name(self) -> &'static str {
        match self {
            Self::PlainTcp => "plain-tcp",
            Self::OpenPort => "open-port",
            Self::NoIdentity => "no-identity",
            Self::Qos0 => "qos-0",
            Self::AckReceived => "ack-received",
            Self::NoAlarmClass => "no-alarm-class",
            Self::AlarmsDropped => "alarms-dropped",
            Self::CommandsWithoutExpiry => "commands-without-expiry",
            Self::LossesUntold => "losses-untold",
            Self::OutageUntold => "outage-untold",
            Self::UnsignedPlugins => "unsigned-plugins",
            Self::ForeignSecret => "foreign-secret",
            Self::SecretInEnvironment => "secret-in-environment",
            Self::RecordingToDisk => "recording-to-disk",
            Self::FilesWithoutKeep => "files-without-keep",
            Self::VerboseLog => "verbose-log",
            Self::DataInTmp => "data-in-tmp",
            Self::DefaultName => "default-name",
        }
    }

    /// Why it matters, in a sentence for the operator.
    pub fn why(self) -> &'static str {
        match self {
            Self::PlainTcp => {
                "whoever is on the way reads every message and the password, and can write messages of his own"
            }
            Self::OpenPort => {
                "whoever reaches the port can write whatever a device may, and no log says who it was"
            }
            Self::NoIdentity => {
                "the other side cannot tell this gateway from anybody else who finds its address"
            }
            Self::Qos0 => {
                "QoS 0 has no acknowledgement: what is under way when a link or a process ends is lost, and in no account"
            }
            Self::AckReceived => {
                "the sender has its acknowledgement before the message is safe: a crash or power cut loses what is under way, untold"
            }
            Self::NoAlarmClass => {
                "after an outage everything waits behind the backlog, alarms too, and so does the record of what was given up"
            }
            Self::AlarmsDropped => "a plugin raises alarms, and nobody hears them",
            Self::CommandsWithoutExpiry => {
                "after an outage a device gets commands of yesterday, and obeys"
            }
            Self::LossesUntold => {
                "what a full class gives up stands in the ledger of this machine only: upstream it looks as if nothing was missing"
            }
            Self::OutageUntold => {
                "a gateway that is gone says nothing, and upstream cannot tell that from devices that have nothing to say"
            }
            Self::UnsignedPlugins => {
                "whoever can write the file decides what becomes of every message"
            }
            Self::ForeignSecret => "somebody else can put another secret in its place, or read it",
            Self::SecretInEnvironment => {
                "systemd shows `Environment=` to every user of the machine, and every program that is started inherits it"
            }
            Self::RecordingToDisk => {
                "everything that comes in is written to the card for good: it wears, and what devices said lies about"
            }
            Self::FilesWithoutKeep => {
                "files grow until the disk is full, and then nothing is accepted there any more"
            }
            Self::VerboseLog => {
                "a line for each message fills the journal, wears the card, and hides the lines that matter"
            }
            Self::DataInTmp => {
                "the folder is emptied at a restart of the machine, and with it goes what was acknowledged and not sent yet"
            }
            Self::DefaultName => {
                "machines made from one image have one name, and so one client id: at a broker they throw each other out, over and over"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MANUAL;

    #[test]
    fn each_has_a_name_of_its_own_that_the_manual_explains() {
        for (index, advice) in Advice::ALL.into_iter().enumerate() {
            let name = advice.name();
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || b"-0".contains(&byte)),
                "{name}"
            );
            assert!(
                Advice::ALL[..index]
                    .iter()
                    .all(|other| other.name() != name),
                "{name}"
            );
            assert!(MANUAL.contains(&format!("# {name}: ")), "{name}");
            assert!(!advice.why().is_empty());
        }
    }
}
