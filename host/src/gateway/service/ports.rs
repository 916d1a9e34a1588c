//! Ports that the service manager keeps open while the gateway is started again, or opened itself before the first start: systemd's
//! store of descriptors (`FileDescriptorStoreMax=`) and its sockets units, `sd_listen_fds(3)`.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use listenfd::ListenFd;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::mpsc;

use super::socket::ServiceSocket;
use crate::link::{self, HandedOver, PortKeeper};

/// What sources get to ask for theirs, before the others are closed.
const CLAIMED_WITHIN: Duration = Duration::from_secs(10);
/// More descriptors than a service manager passes: whoever says so is none, and room for them may not even be there.
const MOST_PASSED: usize = 4_096;
/// Ports that are still to be told of, when the service manager is busy.
const MOST_UNTOLD: usize = 256;

/// What the service manager is to do about a port, by its name.
enum PortOrder {
    Keep(OwnedFd, String),
    Forget(String),
}

/// What it has not been told yet.
pub(in crate::gateway) struct PortOrders(mpsc::Receiver<PortOrder>);

/// Takes over what the service manager kept, as this environment says, and lets it keep what is listened on from now on.
pub(in crate::gateway) fn take_over(
    service: &ServiceSocket,
    environment: &BTreeMap<String, String>,
) -> PortOrders {
    let mut passed = passed(environment);
    let mut handed_over = Vec::new();
    let mut others = 0_usize;
    for index in 0..passed.len() {
        if let Ok(Some(listener)) = passed.take_tcp_listener(index) {
            handed_over.push(HandedOver::Listener(listener));
        } else if let Ok(Some(socket)) = passed.take_udp_socket(index) {
            handed_over.push(HandedOver::Datagrams(socket));
        } else {
            others += 1;
        }
    }
    if others > 0 {
        tracing::warn!(
            others,
            "the service manager passed something that is no port; it is left alone"
        );
    }
    let (orders, untold) = mpsc::channel(MOST_UNTOLD);
    if service.is_heard() {
        link::keep_by(Arc::new(KeptByManager(orders)), handed_over);
    } else if !handed_over.is_empty() {
        link::hand_over(handed_over);
    }
    PortOrders(untold)
}

/// What `LISTEN_FDS` says is there; nothing, where no service manager says so.
fn passed(environment: &BTreeMap<String, String>) -> ListenFd {
    match environment.get("LISTEN_FDS") {
        Some(count) if !is_count(count) => {
            tracing::warn!(
                most = MOST_PASSED,
                "LISTEN_FDS in the environment is no count of ports that a service manager passes: none is taken over"
            );
            ListenFd::empty()
        }
        _ => ListenFd::from_env(),
    }
}

fn is_count(text: &str) -> bool {
    text.is_empty() || text.parse().is_ok_and(|count: usize| count <= MOST_PASSED)
}

/// Tells the service manager what to keep, however busy it is, and closes what nobody has asked for once everybody could.
pub(in crate::gateway) async fn attend(service: ServiceSocket, mut untold: PortOrders) {
    let unclaimed = async {
        tokio::time::sleep(CLAIMED_WITHIN).await;
        link::close_unclaimed();
    };
    let telling = async {
        let Some(manager) = service.manager() else {
            return;
        };
        while let Some(order) = untold.0.recv().await {
            if let Err(error) = tell(&manager, &order).await {
                tracing::warn!(%error, "the service manager does not hear which ports to keep: who asks while the gateway is started again is turned away");
            }
        }
    };
    tokio::join!(unclaimed, telling);
}

async fn tell(manager: &UnixDatagram, order: &PortOrder) -> io::Result<()> {
    let (text, socket) = match order {
        // Whether somebody is gone from it is not for the manager to find out: it is there for the next ones.
        PortOrder::Keep(socket, name) => (
            format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"),
            Some(socket.as_fd()),
        ),
        PortOrder::Forget(name) => (format!("FDSTOREREMOVE=1\nFDNAME={name}"), None),
    };
    manager
        .async_io(Interest::WRITABLE, || send(manager, &text, socket))
        .await
}

fn send(manager: &UnixDatagram, text: &str, socket: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let descriptors: Vec<_> = socket.into_iter().collect();
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut room);
    if !descriptors.is_empty() {
        beside.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    let words = [IoSlice::new(text.as_bytes())];
    sendmsg(manager, &words, &mut beside, SendFlags::empty())?;
    Ok(())
}

/// The service manager, as those know it who listen.
struct KeptByManager(mpsc::Sender<PortOrder>);

impl KeptByManager {
    fn order(&self, order: PortOrder) {
        if self.0.try_send(order).is_err() {
            tracing::warn!(
                "too many ports came and went at once: the service manager does not hear of one of them"
            );
        }
    }
}

impl PortKeeper for KeptByManager {
    fn keep(&self, socket: BorrowedFd<'_>, name: &str) {
        match socket.try_clone_to_owned() {
            Ok(socket) => self.order(PortOrder::Keep(socket, name.to_owned())),
            Err(error) => tracing::warn!(%error, name, "this port is not kept over a restart"),
        }
    }

    fn forget(&self, name: &str) {
        self.order(PortOrder::Forget(name.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_count_or_more_than_anybody_passes_makes_no_room() {
        for count in ["", "0", "3", "4096"] {
            assert!(is_count(count), "{count}");
        }
        for none in [
            "-1",
            "abc",
            "3 4",
            "4097",
            "99999999999",
            "99999999999999999999",
        ] {
            assert!(!is_count(none), "{none}");
        }
    }
}
