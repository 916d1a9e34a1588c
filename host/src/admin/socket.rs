//! The control socket: `admin.sock` in the data folder, where the operator's commands arrive.
//!
//! HTTP with JSON over a Unix socket: the rights of the file say who may speak, and nothing of it can be reached from
//! the network. Mode 0660: the user the gateway runs as, and its group. Who got past the file (its mode was changed, or
//! a descriptor was handed on) is looked at once more: root, the gateway's user and members of the socket's group are
//! served, anybody else gets a 403.

use std::fs;
use std::future::ready;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::net::unix::UCred;
use tokio::sync::watch;

use super::Error;
use super::attend::{ConnectionBounds, Entering, Listening, attend};
use super::caller::{Caller, CallerOrigin, Scope};
use super::routes::Routes;
use crate::file;

/// Whoever gets past the file's rights is an operator.
const SCOPE: Scope = Scope::Deploy;
/// Name of the socket in the data folder.
const FILE: &str = "admin.sock";
/// Owner and group may connect, which takes the right to write.
const MODE: u32 = 0o660;
/// The kernel takes no longer path for a socket; a longer one goes through an open folder.
const LONGEST_PATH: usize = 107;
/// A command waits for a commit, and a tired card takes long for one; two pages of an import may come in at a time.
const BOUNDS: ConnectionBounds = ConnectionBounds {
    most: 16,
    head: Duration::from_secs(5),
    whole: Duration::from_secs(150),
    vouched: Duration::from_secs(150),
    body_bytes: 64 << 20,
    body_still: Duration::from_secs(5),
};
/// How often it is looked whether it is there still, and tried again where it cannot be made.
const LOOK: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_secs(5);
const FORBIDDEN: &[u8] =
    b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Where the control socket of a data folder is.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

/// Calls `connect` with a path of the socket that the kernel takes.
pub(super) fn with_short_path<T>(
    path: &Path,
    connect: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    let (Some(folder), Some(file)) = (path.parent(), path.file_name()) else {
        return connect(path);
    };
    if path.as_os_str().len() <= LONGEST_PATH {
        return connect(path);
    }
    let folder = file::open_folder(folder)?;
    connect(
        &Path::new("/proc/self/fd")
            .join(folder.as_raw_fd().to_string())
            .join(file),
    )
}

/// A bound socket that is not served yet. Its file goes when it is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Keeps one in `data_dir` until `stop` is true: it is made anew where it is gone, and tried again while it cannot be made, as on a
    /// disk that is full or read-only. The gateway does its work without. The caller holds the folder's lock.
    pub async fn keep(data_dir: PathBuf, routes: Routes, mut stop: watch::Receiver<bool>) {
        let mut told = None;
        while !*stop.borrow_and_update() {
            let folder = data_dir.clone();
            match beside(move || Self::bind(&folder)).await {
                Ok(socket) => {
                    if told.take().is_some() {
                        tracing::info!(
                            "the control socket is there again: commands find this gateway"
                        );
                    }
                    match socket
                        .serve_while_it_is_there(routes.clone(), stop.clone())
                        .await
                    {
                        Ok(()) if *stop.borrow() => return,
                        Ok(()) => {
                            tracing::warn!(folder = %data_dir.display(), "the control socket was taken away or replaced: it is made anew");
                            continue;
                        }
                        Err(error) => tell(&error, &mut told),
                    }
                }
                Err(error) => tell(&error, &mut told),
            }
            // An error means that the gateway ends, which is the same.
            let _ = tokio::time::timeout(AGAIN, stop.wait_for(|stop| *stop)).await;
        }
    }

    async fn serve_while_it_is_there(
        self,
        routes: Routes,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), Error> {
        let path = self.path.clone();
        let look = || {
            let path = path.clone();
            beside(move || identity(&path).map_err(Error::Serve))
        };
        let own = look().await?;
        let (end, ended) = watch::channel(false);
        let mut serving = pin!(self.serve(routes, ended));
        let lost = async {
            while look().await.is_ok_and(|found| found == own) {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            served = &mut serving => return served,
            _ = stop.wait_for(|stop| *stop) => {}
            () = lost => {}
        }
        end.send_replace(true);
        serving.await
    }

    /// Binds it in `data_dir`, in place of one that a killed gateway left behind: the caller holds the folder's lock.
    fn bind(data_dir: &Path) -> Result<Self, Error> {
        let path = path(data_dir);
        let bind = || {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = with_short_path(&path, |short| UnixListener::bind(short))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(MODE))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        match bind() {
            Ok(listener) => Ok(Self { listener, path }),
            Err(source) => Err(Error::Socket { path, source }),
        }
    }

    /// Serves until `stop` is true, which also takes the file away: the next gateway may bind it at once.
    async fn serve(self, routes: Routes, stop: watch::Receiver<bool>) -> Result<(), Error> {
        let about = fs::metadata(&self.path).map_err(Error::Serve)?;
        let listener = self
            .listener
            .try_clone()
            .and_then(tokio::net::UnixListener::from_std)
            .map_err(Error::Serve)?;
        let mut entrance = Entrance {
            listener,
            owner: about.uid(),
            group: about.gid(),
        };
        let guests = attend(&mut entrance, routes.within(SCOPE), BOUNDS, stop).await;
        drop(self);
        guests.leave().await;
        Ok(())
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // A file that stays behind answers nobody, and the next gateway replaces it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Does what may wait for the disk, for ever where that hangs, on a thread that may.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|stopped| Err(Error::Serve(io::Error::other(stopped))))
}

/// Which file it is, in which file system.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|about| (about.dev(), about.ino()))
}

/// Once for each cause.
fn tell(error: &Error, told: &mut Option<String>) {
    let words = crate::words::with_causes(error);
    if told.as_ref() != Some(&words) {
        tracing::error!(
            cause = words,
            "status, parked and spool commands will not find this gateway; it is tried again every {} s",
            AGAIN.as_secs()
        );
        *told = Some(words);
    }
}

/// Lets in whom the file's owner and group allow.
struct Entrance {
    listener: tokio::net::UnixListener,
    owner: u32,
    group: u32,
}

impl Entrance {
    fn admits(&self, peer: UCred) -> bool {
        let is_member = || {
            peer.pid()
                .is_some_and(|pid| groups(pid).contains(&self.group))
        };
        peer.uid() == 0 || peer.uid() == self.owner || peer.gid() == self.group || is_member()
    }
}

impl Listening for Entrance {
    type Stream = UnixStream;

    async fn next(&mut self) -> io::Result<(Entering<UnixStream>, Caller)> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let peer = stream.peer_cred().ok();
            if let Some(peer) = peer.filter(|peer| self.admits(*peer)) {
                let origin = CallerOrigin::Socket {
                    uid: peer.uid(),
                    pid: peer.pid(),
                };
                return Ok((
                    Box::pin(ready(Ok(stream))),
                    Caller {
                        origin,
                        scope: SCOPE,
                    },
                ));
            }
            tracing::warn!(?peer, "a stranger at the control socket was turned away");
            // Whether he reads it is his affair.
            let _ = stream.try_write(FORBIDDEN);
        }
    }
}

/// The further groups of a process. The credentials of a socket hold only its first.
fn groups(pid: i32) -> Vec<u32> {
    let status = file::read_text(Path::new(&format!("/proc/{pid}/status")), file::BY_HAND)
        .unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Groups:"))
        .unwrap_or_default();
    line.split_whitespace()
        .filter_map(|group| group.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream as Connection;

    use super::*;

    #[test]
    fn a_socket_left_behind_is_replaced_and_ours_goes_with_us() {
        let folder = tempfile::tempdir().unwrap();
        drop(UnixListener::bind(path(folder.path())).unwrap());
        let socket = ControlSocket::bind(folder.path()).unwrap();
        let mode = fs::metadata(path(folder.path()))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, MODE);
        drop(socket);
        assert!(!path(folder.path()).exists());
    }

    #[test]
    fn a_path_too_long_for_the_kernel_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a".repeat(120));
        fs::create_dir(&deep).unwrap();
        let _socket = ControlSocket::bind(&deep).unwrap();
        with_short_path(&path(&deep), |short| Connection::connect(short)).unwrap();
    }

    #[test]
    fn our_own_groups_are_found() {
        let own = i32::try_from(std::process::id()).unwrap();
        let known: Vec<u32> = rustix::process::getgroups()
            .unwrap()
            .into_iter()
            .map(rustix::process::Gid::as_raw)
            .collect();
        let found = groups(own);
        assert!(
            known.iter().all(|group| found.contains(group)),
            "{known:?} {found:?}"
        );
    }
}
