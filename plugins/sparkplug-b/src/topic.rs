//! What a topic of Sparkplug says.

use tidegate_sdk::prelude::*;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    NodeBirth,
    NodeDeath,
    NodeData,
    DeviceBirth,
    DeviceDeath,
    DeviceData,
    /// Commands and states of hosts.
    Other,
}

/// A topic, taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Topic<'t> {
    pub group: &'t str,
    pub kind: Kind,
    pub node: &'t str,
    pub device: Option<&'t str>,
}

impl<'t> Topic<'t> {
    /// # Errors
    /// It is none of Sparkplug B's.
    pub fn read(topic: &'t str) -> Result<Self> {
        let none = || {
            let shown: String = topic.chars().take(80).collect();
            format!("topic `{shown}` is none of Sparkplug B's: spBv1.0/GROUP/TYPE/NODE/DEVICE")
        };
        let mut levels = topic.split('/');
        if levels.next() != Some("spBv1.0") {
            return Err(none().into());
        }
        let levels: Vec<&str> = levels.collect();
        let (group, kind, node, device) = match levels.as_slice() {
            ["STATE", ..] => ("", "STATE", "", None),
            [group, kind, node] => (*group, *kind, *node, None),
            [group, kind, node, device] => (*group, *kind, *node, Some(*device)),
            _ => return Err(none().into()),
        };
        let kind = match (kind, device) {
            ("NBIRTH", None) => Kind::NodeBirth,
            ("NDEATH", None) => Kind::NodeDeath,
            ("NDATA", None) => Kind::NodeData,
            ("DBIRTH", Some(_)) => Kind::DeviceBirth,
            ("DDEATH", Some(_)) => Kind::DeviceDeath,
            ("DDATA", Some(_)) => Kind::DeviceData,
            ("NCMD" | "STATE", None) | ("DCMD", Some(_)) => Kind::Other,
            _ => return Err(none().into()),
        };
        Ok(Self {
            group,
            kind,
            node,
            device,
        })
    }

    /// What a node's state is kept by.
    pub fn key(&self) -> String {
        format!("{}/{}", self.group, self.node)
    }

    /// Where commands to the node go.
    pub fn command(&self) -> String {
        format!("spBv1.0/{}/NCMD/{}", self.group, self.node)
    }
}

impl Kind {
    /// The type as it is told; `None` for what is not.
    pub fn told(self) -> Option<&'static str> {
        Some(match self {
            Self::NodeBirth => "NBIRTH",
            Self::NodeDeath => "NDEATH",
            Self::NodeData => "NDATA",
            Self::DeviceBirth => "DBIRTH",
            Self::DeviceDeath => "DDEATH",
            Self::DeviceData => "DDATA",
            Self::Other => return None,
        })
    }

    pub fn is_data(self) -> bool {
        matches!(self, Self::NodeData | Self::DeviceData)
    }

    pub fn is_death(self) -> bool {
        matches!(self, Self::NodeDeath | Self::DeviceDeath)
    }
}
