//! Tells when a network interface of this machine comes up, so that a back-off need not be sat out when the cable is in
//! or the modem has an address again. Linux says so over netlink; elsewhere, and where that is forbidden, nothing is told
//! and the back-off ends by itself.

use std::collections::BTreeSet;

use tokio::net::UdpSocket;

/// Larger than any of the messages that are listened for.
const BUFFER_BYTES: usize = 32 << 10;

/// Listens as long as it lives.
#[derive(Debug)]
pub(in crate::link) struct Interfaces {
    /// A netlink socket: for receiving it is a datagram socket like any other.
    socket: Option<UdpSocket>,
    down: Down,
}

impl Interfaces {
    /// Begins to listen; to be called inside the runtime.
    pub(in crate::link) fn listen() -> Self {
        Self {
            socket: open(),
            down: Down::default(),
        }
    }

    /// Waits until an interface has come up since the last call. Cancel safe.
    pub(in crate::link) async fn came_up(&mut self) {
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Some(socket) = &self.socket {
            match socket.recv(&mut buffer).await {
                Ok(length) => {
                    if self.down.note(&buffer[..length]) {
                        return;
                    }
                }
                // Too much at once: what was lost may have been the word that was waited for.
                Err(error)
                    if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) =>
                {
                    return;
                }
                Err(_) => self.socket = None,
            }
        }
        std::future::pending().await
    }
}

#[cfg(target_os = "linux")]
fn open() -> Option<UdpSocket> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, netlink, socket_with};
    /// The groups RTNLGRP_LINK and RTNLGRP_IPV4_IFADDR, as bits.
    const GROUPS: u32 = 1 | 1 << 4;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    // Netlink's protocol 0 is the one that speaks of links and addresses.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None).ok()?;
    bind(&socket, &netlink::SocketAddrNetlink::new(0, GROUPS)).ok()?;
    UdpSocket::from_std(std::net::UdpSocket::from(socket)).ok()
}

#[cfg(not(target_os = "linux"))]
fn open() -> Option<UdpSocket> {
    None
}

/// The interfaces that were seen down.
#[derive(Debug, Default)]
struct Down(BTreeSet<u32>);

impl Down {
    const NEW_LINK: u16 = 16;
    const DELETED_LINK: u16 = 17;
    const NEW_ADDRESS: u16 = 20;
    const HEADER_BYTES: usize = 16;
    /// IFF_UP and IFF_RUNNING: somebody wants it up, and there is a carrier.
    const RUNNING: u32 = 0x41;
    const LOOPBACK: u32 = 0x8;
    /// RT_SCOPE_HOST: an address that leads nowhere else.
    const SCOPE_HOST: u8 = 254;

    /// Reads a run of netlink messages: whether an interface has come up or got an address. Links are reported for many
    /// reasons, so only one that was seen down counts.
    fn note(&mut self, mut messages: &[u8]) -> bool {
        let mut up = false;
        while let Some((kind, body, rest)) = take(messages) {
            messages = rest;
            let word = |at: usize| {
                body.get(at..at + 4)?
                    .try_into()
                    .ok()
                    .map(u32::from_ne_bytes)
            };
            match (kind, word(4), word(8)) {
                (Self::NEW_LINK, Some(index), Some(flags))
                    if flags & Self::RUNNING != Self::RUNNING =>
                {
                    self.0.insert(index);
                }
                (Self::NEW_LINK, Some(index), Some(flags)) => {
                    up |= self.0.remove(&index) && flags & Self::LOOPBACK == 0
                }
                (Self::DELETED_LINK, Some(index), _) => {
                    self.0.remove(&index);
                }
                (Self::NEW_ADDRESS, Some(_), _) => {
                    up |= body.get(3).is_some_and(|scope| *scope != Self::SCOPE_HOST)
                }
                _ => {}
            }
        }
        up
    }
}

/// The first message: its type, its body and what follows.
fn take(messages: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(messages.get(..4)?.try_into().ok()?);
    let kind = u16::from_ne_bytes(messages.get(4..6)?.try_into().ok()?);
    let length = usize::try_from(length).ok()?;
    let body = messages.get(Down::HEADER_BYTES..length)?;
    Some((
        kind,
        body,
        messages
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default(),
    ))
}

#[cfg(test)]
pub(in crate::link) mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Interfaces {
        /// One that hears what is sent to it, and the socket to send with.
        pub(crate) fn hearing() -> (Self, std::net::UdpSocket) {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            sender.connect(socket.local_addr().unwrap()).unwrap();
            socket.set_nonblocking(true).unwrap();
            (
                Self {
                    socket: Some(UdpSocket::from_std(socket).unwrap()),
                    down: Down::default(),
                },
                sender,
            )
        }
    }

    /// The system's word for a new address.
    pub(in crate::link) fn new_address() -> Vec<u8> {
        address(0)
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut message = u32::try_from(Down::HEADER_BYTES + body.len())
            .unwrap()
            .to_ne_bytes()
            .to_vec();
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&[0; 10]);
        message.extend_from_slice(body);
        message
    }

    fn link(kind: u16, index: u32, flags: u32) -> Vec<u8> {
        let mut body = vec![0; 4];
        body.extend_from_slice(&index.to_ne_bytes());
        body.extend_from_slice(&flags.to_ne_bytes());
        body.extend_from_slice(&[0; 4]);
        message(kind, &body)
    }

    fn address(scope: u8) -> Vec<u8> {
        message(Down::NEW_ADDRESS, &[2, 24, 0, scope, 3, 0, 0, 0])
    }

    #[test]
    fn only_a_link_that_was_down_comes_up() {
        let mut down = Down::default();
        assert!(!down.note(&link(Down::NEW_LINK, 2, Down::RUNNING)));
        assert!(!down.note(&link(Down::NEW_LINK, 2, 1)));
        assert!(
            down.note(
                &[
                    link(Down::NEW_LINK, 9, 1),
                    link(Down::NEW_LINK, 2, Down::RUNNING | 2)
                ]
                .concat()
            )
        );
        assert!(!down.note(&link(Down::NEW_LINK, 2, Down::RUNNING)));
        down.note(&link(Down::DELETED_LINK, 9, 0));
        assert!(!down.note(&link(Down::NEW_LINK, 9, Down::RUNNING)));
    }

    #[test]
    fn a_new_address_counts_unless_it_is_the_machines_own() {
        let mut down = Down::default();
        assert!(down.note(&address(0)) && !down.note(&address(Down::SCOPE_HOST)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_turn_for_ever(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            Down::default().note(&bytes);
        }
    }

    #[tokio::test]
    async fn this_machine_lets_us_listen() {
        let mut interfaces = Interfaces::listen();
        assert_eq!(interfaces.socket.is_some(), cfg!(target_os = "linux"));
        // Whether or not something happens meanwhile, the socket is one that can be read.
        let _ =
            tokio::time::timeout(std::time::Duration::from_millis(1), interfaces.came_up()).await;
        assert_eq!(interfaces.socket.is_some(), cfg!(target_os = "linux"));
    }
}
