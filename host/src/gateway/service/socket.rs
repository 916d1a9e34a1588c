//! What the service manager hears of the gateway: that it is ready, reads its config again, stops, and how it is, in one line.
//!
//! systemd's protocol (`sd_notify(3)`): datagrams to the socket that `NOTIFY_SOCKET` names. Without one nothing is said, and
//! whatever is said is never waited for.

use std::collections::BTreeMap;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use crate::words;

/// Characters of the line that `systemctl status` shows.
const LONGEST_STATUS: usize = 160;

/// Who started us, if it wants to hear of us. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(in crate::gateway) struct ServiceSocket {
    socket: Option<Arc<UnixDatagram>>,
    watchdog: Option<Duration>,
}

impl ServiceSocket {
    /// As this environment says, for the process `pid`. A socket that cannot be reached is said, and does not keep the gateway
    /// from its work.
    pub(in crate::gateway) fn of(environment: &BTreeMap<String, String>, pid: u32) -> Self {
        let Some(name) = environment.get("NOTIFY_SOCKET") else {
            return Self::default();
        };
        let socket = connect(name).map_err(|error| {
            tracing::warn!(%error, "the service manager's socket cannot be reached, so it hears nothing of us");
        });
        Self {
            socket: socket.ok().map(Arc::new),
            watchdog: watchdog(environment, pid),
        }
    }

    /// How often it wants to hear that we go on, if it does.
    pub(in crate::gateway) fn watchdog(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.is_heard())
    }

    pub(in crate::gateway) fn is_heard(&self) -> bool {
        self.socket.is_some()
    }

    /// From now on messages are taken.
    pub(in crate::gateway) fn ready(&self) {
        self.tell("READY=1");
    }

    /// The config is read again, until the answer is dropped.
    pub(in crate::gateway) fn reloading(&self) -> Reloading {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let microseconds =
            now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
        Reloading(self.clone())
    }

    /// Nothing new is taken any more.
    pub(in crate::gateway) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping: hands on or writes what is under way");
    }

    /// All loops turn that must.
    pub(in crate::gateway) fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// How it is, on one line.
    pub(in crate::gateway) fn status(&self, text: &str) {
        self.tell(&format!("STATUS={}", words::line(text, LONGEST_STATUS)));
    }

    /// The same socket, for who may wait until something is heard; within a runtime.
    pub(super) fn manager(&self) -> Option<tokio::net::UnixDatagram> {
        let socket = self.socket.as_ref()?.try_clone();
        let socket = socket.and_then(tokio::net::UnixDatagram::from_std);
        socket
            .map_err(|error| tracing::warn!(%error, "the service manager keeps no ports"))
            .ok()
    }

    fn tell(&self, text: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(text.as_bytes())
        {
            tracing::debug!(%error, "the service manager did not hear `{}`", text.replace('\n', " "));
        }
    }
}

/// While it is there the service manager takes us for reloading.
pub(in crate::gateway) struct Reloading(ServiceSocket);

impl Drop for Reloading {
    fn drop(&mut self) {
        self.0.ready();
    }
}

/// A path, or a name in the kernel's own list with `@` for its zero byte.
fn connect(name: &str) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The variables may be of our parent, who passed them on.
fn watchdog(environment: &BTreeMap<String, String>, pid: u32) -> Option<Duration> {
    let is_another = |meant: &String| meant.parse() != Ok(pid);
    if environment.get("WATCHDOG_PID").is_some_and(is_another) {
        return None;
    }
    let microseconds = environment.get("WATCHDOG_USEC")?.parse().ok()?;
    Some(Duration::from_micros(microseconds)).filter(|interval| !interval.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let own = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        pairs.iter().map(own).collect()
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn a_socket_by_path_or_by_name_hears_each_word_and_none_is_no_trouble() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("tidegate-test-{}", std::process::id());
        let sockets = [
            (
                UnixDatagram::bind(&path).unwrap(),
                path.display().to_string(),
            ),
            (
                UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap(),
                format!("@{name}"),
            ),
        ];
        for (socket, name) in sockets {
            let service = ServiceSocket::of(&environment(&[("NOTIFY_SOCKET", &name)]), 7);
            let reloading = service.reloading();
            assert!(heard(&socket).starts_with("RELOADING=1\nMONOTONIC_USEC="));
            drop(reloading);
            assert_eq!(heard(&socket), "READY=1");
            service.status("two\nlines");
            assert_eq!(heard(&socket), "STATUS=two lines");
        }
        ServiceSocket::of(&environment(&[]), 7).ready();
        let gone = ServiceSocket::of(&environment(&[("NOTIFY_SOCKET", "/nowhere/at/all")]), 7);
        assert!(!gone.is_heard());
        gone.ready();
    }

    #[test]
    fn the_watchdog_is_ours_only_where_it_names_us_or_nobody() {
        let of = |pairs: &[(&str, &str)]| watchdog(&environment(pairs), 7);
        let usec = ("WATCHDOG_USEC", "3000000");
        assert_eq!(of(&[usec]), Some(Duration::from_secs(3)));
        assert_eq!(
            of(&[usec, ("WATCHDOG_PID", "7")]),
            Some(Duration::from_secs(3))
        );
        assert_eq!(of(&[usec, ("WATCHDOG_PID", "8")]), None);
        assert_eq!(of(&[("WATCHDOG_USEC", "0")]), None);
        assert_eq!(of(&[]), None);
    }
}
