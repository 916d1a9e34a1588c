//! Who asks, and what it may ask for: what a transport knows of the other end, put into each request as
//! `Extension<Caller>`.

use std::path::Path;

use crate::file;

/// What a caller may call; each scope has those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// What anybody on this machine may read.
    Read,
    /// What only the operator may see and do.
    Operate,
}

/// Where a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerOrigin {
    /// The loopback port: some process of this machine.
    Port,
    /// The control socket; the other end as the kernel says.
    Socket { uid: u32, pid: Option<i32> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub origin: CallerOrigin,
    pub scope: Scope,
}

impl Caller {
    /// Number and name of the user, as far as the transport and this machine's own list know them. The list is on the disk.
    pub fn user(&self) -> Option<(u32, Option<String>)> {
        match self.origin {
            CallerOrigin::Port => None,
            CallerOrigin::Socket { uid, .. } => Some((uid, user_name(uid))),
        }
    }

    /// For the log. Reads the list of users, too.
    pub fn words(&self) -> String {
        let CallerOrigin::Socket { uid, pid } = self.origin else {
            return "somebody at the loopback port".to_owned();
        };
        let user = user_name(uid).unwrap_or_else(|| format!("user {uid}"));
        pid.map_or(user.clone(), |pid| format!("{user}, process {pid}"))
    }
}

fn user_name(uid: u32) -> Option<String> {
    let list = file::read_text(Path::new("/etc/passwd"), file::BY_HAND).ok()?;
    let uid = uid.to_string();
    list.lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&&*uid))
        .map(|fields| fields[0].to_owned())
}
