//! The one way to read a file, and the one look at whose a file is.
//!
//! A path that an operator, a deployment or another user chose may lead to anything: a pipe that nobody writes to, a device
//! that never ends, a file that grows while it is read, a mount whose server is gone. So only regular files are read, opening never
//! waits for somebody else, reading ends at a bound, and what a config names is given up when nothing comes of it (`within`).

mod within;

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

#[cfg(test)]
pub use self::within::HungPath;
pub use self::within::within;

/// Bytes of a file that people write by hand (a config, a key, a password): there is no longer one by intention.
pub const BY_HAND: u64 = 1 << 20;

/// Bytes of a plugin's component.
pub const COMPONENT: u64 = 32 << 20;

/// Bits of the mode by which others may write.
const OTHERS_WRITE: u32 = 0o002;
/// The same of the file's group.
const GROUP_WRITES: u32 = 0o020;
/// The bits of a folder's mode by which others and its group get in.
const OTHERS_PASS: u32 = 0o001;
const GROUP_PASSES: u32 = 0o010;
/// How deep a look into a folder goes; what is below lies deeper than anything that a gateway puts there.
const DEEPEST: usize = 8;
/// Entries of the data folder whose owner is looked at, so that a look takes no longer than a moment.
const MOST_ENTRIES: usize = 20_000;

/// Opens a regular file for reading; never waits for somebody else.
///
/// # Errors
/// It is not there, not ours to read, or no file but a folder, a pipe, a device.
pub fn open(path: &Path) -> io::Result<File> {
    // Looked at before it is opened, since to open some devices is to use them, and after, since it may have changed.
    is_regular(&fs::metadata(path)?)?;
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    is_regular(&file.metadata()?)?;
    Ok(file)
}

/// Reads a regular file of `most` bytes at most.
///
/// # Errors
/// As [`open`], or it is longer, or the system's, or nothing came of it in time.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let own = path.to_owned();
    within(path, move || read_from(&open(&own)?, most))
}

/// What the system says about what is at `path`, or where that leads to.
///
/// # Errors
/// The system's, or nothing came of it in time.
pub fn about(path: &Path) -> io::Result<Metadata> {
    let own = path.to_owned();
    within(path, move || fs::metadata(own))
}

/// Whether there is a regular file, as far as that can be told in time.
pub fn is_file(path: &Path) -> bool {
    about(path).is_ok_and(|found| found.is_file())
}

/// The same of a text.
///
/// # Errors
/// As [`read`], or it is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not text in UTF-8"))
}

/// Reads what is left of a file that [`open`] opened.
///
/// # Errors
/// It is longer than `most` bytes, or the system's.
pub fn read_from(file: &File, most: u64) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    if length > most {
        return Err(too_large(length, most));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    // It may grow meanwhile, and a file of the kernel's has no length at all.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        Err(too_large(bytes.len() as u64, most))
    } else {
        Ok(bytes)
    }
}

/// Opens a folder, to sync it or to reach what is in it.
///
/// # Errors
/// It is no folder, or the system's.
pub fn open_folder(path: &Path) -> io::Result<File> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::DIRECTORY.bits().cast_signed())
        .open(path)
}

/// Makes what was put into a folder, or taken out, durable.
///
/// # Errors
/// It is no folder, or the system's.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    open_folder(path)?.sync_all()
}

/// Gives a folder, and all in it, to whoever has the folder `like`; only root can give it to another user.
///
/// # Errors
/// The system's.
pub fn give_all(folder: &Path, like: &Path) -> io::Result<()> {
    let owner = fs::metadata(like)?;
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        std::os::unix::fs::lchown(&path, Some(owner.uid()), Some(owner.gid()))?;
        if fs::symlink_metadata(&path)?.is_dir() {
            for entry in fs::read_dir(&path)? {
                waiting.push(entry?.path());
            }
        }
    }
    Ok(())
}

fn too_large(length: u64, most: u64) -> io::Error {
    io::Error::new(
        ErrorKind::FileTooLarge,
        format!("it has {length} bytes or more, and {most} are read at most"),
    )
}

fn is_regular(found: &Metadata) -> io::Result<()> {
    let kind = found.file_type();
    let what = if kind.is_file() {
        return Ok(());
    } else if kind.is_dir() {
        return Err(io::Error::new(
            ErrorKind::IsADirectory,
            "it is a folder, and a file is needed",
        ));
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(io::Error::new(
        ErrorKind::InvalidInput,
        format!("it is {what}, and a file is needed"),
    ))
}

/// Something that others could have put there, or could put something else in place of.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Strange {
    /// It belongs to somebody else.
    #[error(
        "`{}` belongs to user {owner}, who could have put anything there; if all of it is yours: chown -R {user} {}",
        path.display(), top.display()
    )]
    Owner {
        path: PathBuf,
        owner: u32,
        user: u32,
        /// The folder that was looked at.
        top: PathBuf,
    },
    /// Everybody may write it.
    #[error("every user of this machine can write to `{}`; close it: chmod o-w {}", .0.display(), .0.display())]
    Open(PathBuf),
    /// A group may write it that is not the gateway's.
    #[error("group {group}, which is not the gateway's, can write to `{}`; close it: chmod g-w {}", path.display(), path.display())]
    Shared {
        path: PathBuf,
        /// With whom, by number.
        group: u32,
    },
}

/// Whether what was found at `path` is ours (or root's) and nobody else may write it.
fn is_ours(path: &Path, found: &Metadata, top: &Path) -> Result<(), Strange> {
    let user = rustix::process::geteuid().as_raw();
    if found.uid() != user && found.uid() != 0 {
        return Err(Strange::Owner {
            path: path.to_owned(),
            owner: found.uid(),
            user,
            top: top.to_owned(),
        });
    }
    // The mode of a link says nothing: only its folder decides.
    if found.file_type().is_symlink() {
        return Ok(());
    }
    if found.mode() & OTHERS_WRITE != 0 {
        return Err(Strange::Open(path.to_owned()));
    }
    if found.mode() & GROUP_WRITES != 0 && is_foreign_group(found) {
        return Err(Strange::Shared {
            path: path.to_owned(),
            group: found.gid(),
        });
    }
    Ok(())
}

/// Whether a file's group is neither the gateway's own nor root's.
fn is_foreign_group(found: &Metadata) -> bool {
    found.gid() != 0 && found.gid() != rustix::process::getegid().as_raw()
}

/// Looks at whose a file, a link or a folder is, without what is in it. What is not there is nobody else's.
///
/// # Errors
/// It is not ours alone.
pub fn own(path: &Path) -> Result<(), Strange> {
    fs::symlink_metadata(path).map_or(Ok(()), |found| is_ours(path, &found, path))
}

/// How a secret's file is guarded against others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretGuard {
    Kept,
    /// It belongs to this user, who is neither root nor who runs the gateway.
    Owner(u32),
    /// Others, or a group that is not the gateway's, can write it.
    Written,
}

/// Looks at whose a secret is. Whoever looks need not be who runs the gateway: that one has the data folder, `beside`. What is
/// not there is kept.
pub fn guard(path: &Path, beside: &Path) -> SecretGuard {
    let Ok(found) = about(path) else {
        return SecretGuard::Kept;
    };
    let runs = fs::metadata(beside).ok();
    let user = rustix::process::geteuid().as_raw();
    let owns = |owner: u32| runs.as_ref().is_some_and(|folder| folder.uid() == owner);
    let shares = |group: u32| runs.as_ref().is_some_and(|folder| folder.gid() == group);
    if found.uid() != 0 && found.uid() != user && !owns(found.uid()) {
        return SecretGuard::Owner(found.uid());
    }
    let is_shared = found.mode() & GROUP_WRITES != 0 && is_foreign_group(&found);
    if found.mode() & OTHERS_WRITE != 0 || (is_shared && !shares(found.gid())) {
        return SecretGuard::Written;
    }
    SecretGuard::Kept
}

/// Looks at whose a folder is, a link that leads to it, and what is in it: what a gateway believes without looking again.
///
/// # Errors
/// Something of it is not ours alone; the first that was found.
pub fn own_folder(top: &Path) -> Result<(), Strange> {
    // The path may be a link: whoever owns that could have it lead elsewhere.
    own(top)?;
    let Ok(found) = fs::metadata(top) else {
        return Ok(());
    };
    is_ours(top, &found, top)?;
    let mut left = MOST_ENTRIES;
    own_entries(
        Within {
            folder: top,
            top,
            is_reached: others_reach(&found),
            deeper: DEEPEST,
        },
        &mut left,
    )
}

/// Where a look goes on.
struct Within<'a> {
    folder: &'a Path,
    top: &'a Path,
    /// Others, or a group, get in here: only then does the mode of what is inside say anything.
    is_reached: bool,
    deeper: usize,
}

fn others_reach(folder: &Metadata) -> bool {
    folder.mode() & OTHERS_PASS != 0
        || (folder.mode() & GROUP_PASSES != 0 && is_foreign_group(folder))
}

fn own_entries(within: Within<'_>, left: &mut usize) -> Result<(), Strange> {
    let Within {
        folder,
        top,
        is_reached,
        deeper,
    } = within;
    // What cannot be listed is told by whoever needs it.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        *left = left.saturating_sub(1);
        let Some(found) = entry.metadata().ok().filter(|_| *left > 0) else {
            continue;
        };
        let path = entry.path();
        // A socket has its own rule about who may speak to it.
        if !found.file_type().is_socket() {
            match is_ours(&path, &found, top) {
                Err(Strange::Open(_) | Strange::Shared { .. }) if !is_reached => {}
                verdict => verdict?,
            }
        }
        if found.is_dir() && deeper > 0 {
            let is_reached = is_reached && others_reach(&found);
            own_entries(
                Within {
                    folder: &path,
                    top,
                    is_reached,
                    deeper: deeper - 1,
                },
                left,
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn words(result: io::Result<Vec<u8>>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn only_files_are_read_and_none_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        assert!(words(read(&pipe, 9)).contains("a pipe"));
        let link = folder.path().join("link");
        symlink("/dev/zero", &link).unwrap();
        assert!(words(read(&link, 9)).contains("a device"));
        assert!(words(read(folder.path(), 9)).contains("a folder"));
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(words(read(&socket, 9)).contains("a socket"));
        assert_eq!(
            read(&folder.path().join("none"), 9).unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }

    #[test]
    fn reading_ends_at_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "123456789").unwrap();
        assert_eq!(read(&path, 9).unwrap(), b"123456789");
        assert!(words(read(&path, 8)).contains("8 are read at most"));
        // Files of the kernel say that they are empty.
        assert!(
            !read(Path::new("/proc/self/status"), BY_HAND)
                .unwrap()
                .is_empty()
        );
        assert!(words(read(Path::new("/proc/self/status"), 3)).contains("3 are read at most"));
        fs::write(&path, [0xff]).unwrap();
        assert!(
            read_text(&path, 9)
                .unwrap_err()
                .to_string()
                .contains("UTF-8")
        );
    }

    #[test]
    fn what_others_can_write_or_own_is_not_ours() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path();
        fs::create_dir(top.join("cache")).unwrap();
        let key = top.join("cache/key");
        fs::write(&key, "x").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o666)).unwrap();
        fs::set_permissions(top, fs::Permissions::from_mode(0o700)).unwrap();
        // Nobody gets as far.
        assert_eq!(own_folder(top), Ok(()));
        for folder in [top, &*top.join("cache")] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
        assert_eq!(own_folder(top), Err(Strange::Open(key.clone())));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(top, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(own_folder(top), Err(Strange::Open(top.to_owned())));
        fs::set_permissions(top, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(own(&top.join("none")), Ok(()));
        // Only root can give a file away.
        if chown(&key, Some(12_345), None).is_ok() {
            assert!(matches!(
                own_folder(top),
                Err(Strange::Owner { owner: 12_345, .. })
            ));
            assert!(own(&key).unwrap_err().to_string().contains("chown -R"));
        }
    }

    #[test]
    fn a_secret_belongs_to_root_or_to_whoever_runs_the_gateway() {
        let folder = tempfile::tempdir().unwrap();
        let (secret, data) = (folder.path().join("secret"), folder.path().join("data"));
        assert_eq!(guard(&secret, &data), SecretGuard::Kept);
        fs::write(&secret, "x").unwrap();
        fs::create_dir(&data).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(guard(&secret, &data), SecretGuard::Kept);
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o602)).unwrap();
        assert_eq!(guard(&secret, &data), SecretGuard::Written);
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o660)).unwrap();
        // Only root can give a file away.
        if chown(&secret, Some(12_345), Some(12_345)).is_ok() {
            assert_eq!(guard(&secret, &data), SecretGuard::Owner(12_345));
            chown(&data, Some(12_345), Some(12_345)).unwrap();
            assert_eq!(guard(&secret, &data), SecretGuard::Kept);
            chown(&secret, Some(12_345), Some(12_346)).unwrap();
            assert_eq!(guard(&secret, &data), SecretGuard::Written);
        }
    }

    #[test]
    fn what_a_foreign_group_can_write_and_what_lies_deep_or_behind_a_foreign_link_is_not_ours() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("data");
        let deep = top.join("spool/store/db");
        fs::create_dir_all(deep.parent().unwrap()).unwrap();
        fs::write(&deep, "x").unwrap();
        // A group of one's own is the user's.
        fs::set_permissions(&top, fs::Permissions::from_mode(0o775)).unwrap();
        assert_eq!(own_folder(&top), Ok(()));
        // Only root can give a file away.
        if chown(&top, None, Some(12_345)).is_err() {
            return;
        }
        for mode in [0o775, 0o770] {
            fs::set_permissions(&top, fs::Permissions::from_mode(mode)).unwrap();
            let strange = own_folder(&top).unwrap_err();
            assert_eq!(
                strange,
                Strange::Shared {
                    path: top.clone(),
                    group: 12_345
                },
                "{mode:o}"
            );
            assert!(strange.to_string().contains("chmod g-w"));
        }
        fs::set_permissions(&top, fs::Permissions::from_mode(0o750)).unwrap();
        assert_eq!(own_folder(&top), Ok(()));
        chown(&deep, Some(12_345), None).unwrap();
        assert!(matches!(own_folder(&top), Err(Strange::Owner { path, .. }) if path == deep));
        chown(&deep, Some(0), None).unwrap();
        let link = folder.path().join("link");
        symlink(&top, &link).unwrap();
        assert_eq!(own_folder(&link), Ok(()));
        std::os::unix::fs::lchown(&link, Some(12_345), None).unwrap();
        assert!(matches!(own_folder(&link), Err(Strange::Owner { path, .. }) if path == link));
    }
}
