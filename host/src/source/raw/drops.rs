//! How many datagrams the system has dropped for want of room in a socket.

use std::path::Path;

/// A list has a line of some 130 bytes for each socket.
const MOST_BYTES: u64 = 4 << 20;

/// Counts those of one socket.
#[derive(Debug)]
pub(in crate::source) struct DropCount {
    /// The socket's number in the system's lists.
    inode: u64,
    list: &'static str,
    told: u64,
}

impl DropCount {
    pub(in crate::source) fn of(socket: impl std::os::fd::AsFd, is_v6: bool) -> Option<Self> {
        let inode = rustix::fs::fstat(socket).ok()?.st_ino;
        Some(Self {
            inode,
            list: if is_v6 {
                "/proc/net/udp6"
            } else {
                "/proc/net/udp"
            },
            told: 0,
        })
    }

    /// How many more there are than when this was last asked. Where the system does not say, none.
    pub(in crate::source) fn more(&mut self) -> u64 {
        let list = crate::file::read_text(Path::new(self.list), MOST_BYTES).unwrap_or_default();
        // The number is that of 32 bits in the system.
        let now = drops(&list, self.inode).unwrap_or(self.told);
        let more = now.wrapping_sub(self.told) & u64::from(u32::MAX);
        self.told = now;
        more
    }
}

/// Of the socket with that number.
fn drops(list: &str, inode: u64) -> Option<u64> {
    let inode = inode.to_string();
    let columns =
        |line: &str| -> Vec<String> { line.split_ascii_whitespace().map(str::to_owned).collect() };
    let mut lines = list.lines().map(columns);
    let own = lines.find(|columns| columns.get(9) == Some(&inode))?;
    own.last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn what_a_socket_has_no_room_for_is_counted() {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        socket2::SockRef::from(&socket)
            .set_recv_buffer_size(4_096)
            .unwrap();
        let mut count = DropCount::of(&socket, false).unwrap();
        let other = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        const SENT: u64 = 500;
        for _ in 0..SENT {
            other
                .send_to(&[7; 100], socket.local_addr().unwrap())
                .unwrap();
        }
        let dropped = count.more();
        socket.set_nonblocking(true).unwrap();
        let mut arrived = 0;
        while socket.recv(&mut [0; 200]).is_ok() {
            arrived += 1;
        }
        assert!(dropped > 0 && arrived > 0, "{dropped} {arrived}");
        assert_eq!(dropped + arrived, SENT);
        assert_eq!(count.more(), 0);
    }
}
