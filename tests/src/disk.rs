//! File systems of a test's own, which can be filled, broken and cut from their power: they need root.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// A mounted file system; gone when dropped.
#[derive(Debug)]
pub struct Disk {
    at: PathBuf,
    image: Option<TempDir>,
}

/// Whether file systems can be mounted here.
pub fn can_mount() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    let attempt = || Some(Disk::tmpfs(tempfile::tempdir().ok()?.path(), 1).is_ok());
    *CAN.get_or_init(|| attempt().unwrap_or(false))
}

/// Whether an ext4 can be made on a loop device here.
pub fn has_loop_ext4() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    let attempt = || {
        let disk = Disk::ext4(tempfile::tempdir().ok()?.path(), 8).ok()?;
        Some(disk.error_switch().is_ok_and(|switch| switch.exists()))
    };
    *CAN.get_or_init(|| can_mount() && attempt().unwrap_or(false))
}

/// Whether the power of an ext4 can be cut here.
pub fn can_cut_power() -> bool {
    has_loop_ext4() && Command::new("xfs_io").arg("-V").output().is_ok()
}

impl Disk {
    /// A tmpfs of so many MiB.
    pub fn tmpfs(at: &Path, mebibytes: u64) -> Result<Self> {
        fs::create_dir_all(at)?;
        run(Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={mebibytes}m,mode=755"),
                "tidegate-test",
            ])
            .arg(at))?;
        Ok(Self {
            at: at.to_owned(),
            image: None,
        })
    }

    /// An ext4 of so many MiB that turns read-only at its first error.
    pub fn ext4(at: &Path, mebibytes: u64) -> Result<Self> {
        fs::create_dir_all(at)?;
        let folder = tempfile::tempdir()?;
        let image = folder.path().join("image");
        File::create(&image)?.set_len(mebibytes << 20)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        let disk = Self {
            at: at.to_owned(),
            image: Some(folder),
        };
        disk.mount_image()?;
        Ok(disk)
    }

    fn mount_image(&self) -> Result<()> {
        let image = self
            .image
            .as_ref()
            .context("a tmpfs has no image")?
            .path()
            .join("image");
        run(Command::new("mount")
            .args(["-o", "loop,errors=remount-ro"])
            .arg(image)
            .arg(&self.at))
    }

    /// Takes the file system away and mounts it afresh, as a restart of the machine does.
    pub fn mount_again(&self) -> Result<()> {
        run(Command::new("umount").arg(&self.at))?;
        self.mount_image()
    }

    /// Cuts the power: from here on nothing reaches the medium, and what was not synced is gone.
    pub fn cut_power(&self) -> Result<()> {
        run(Command::new("xfs_io")
            .args(["-x", "-c", "shutdown"])
            .arg(&self.at))
    }

    /// Nobody may have a file open for writing.
    pub fn turn_read_only(&self) -> Result<()> {
        run(Command::new("mount")
            .args(["-o", "remount,ro"])
            .arg(&self.at))
    }

    pub fn turn_writable(&self) -> Result<()> {
        run(Command::new("mount")
            .args(["-o", "remount,rw"])
            .arg(&self.at))
    }

    /// An ext4 sees an error, as after a bad sector in its own tables.
    pub fn break_it(&self) -> Result<()> {
        fs::write(self.error_switch()?, "1").context("the error cannot be made")
    }

    fn error_switch(&self) -> Result<PathBuf> {
        Ok(Path::new("/sys/fs/ext4")
            .join(self.device()?)
            .join("trigger_fs_error"))
    }

    /// Bytes that have reached the device, the file system's own included.
    pub fn written(&self) -> Result<u64> {
        let text = fs::read_to_string(Path::new("/sys/block").join(self.device()?).join("stat"))?;
        let sectors: u64 = text
            .split_ascii_whitespace()
            .nth(6)
            .context("a device counts the sectors it has written")?
            .parse()?;
        Ok(sectors * 512)
    }

    /// The name of the loop device.
    fn device(&self) -> Result<String> {
        let found = Command::new("findmnt")
            .args(["-n", "-o", "SOURCE"])
            .arg(&self.at)
            .output()?;
        let source = String::from_utf8(found.stdout)?;
        Ok(source
            .trim()
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned())
    }

    /// Fills it to the last byte; answers how many bytes that took.
    pub fn fill(&self) -> Result<u64> {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.filler())?;
        let mut filled = 0;
        for block in [1 << 20, 64 << 10, 4 << 10, 512, 1] {
            let block = vec![0x5a; block];
            while let Ok(written) = file.write(&block) {
                ensure!(written > 0, "nothing was written");
                filled += written as u64;
            }
        }
        Ok(filled)
    }

    /// Bytes that are free.
    pub fn room(&self) -> Result<u64> {
        let found = rustix::fs::statvfs(&self.at)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Fills it but for so many bytes.
    pub fn leave(&self, free: u64) -> Result<()> {
        let filler = self.room()?.saturating_sub(free);
        let block = vec![0x5a; 64 << 10];
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.filler())?;
        for _ in 0..filler / block.len() as u64 {
            file.write_all(&block)?;
        }
        Ok(())
    }

    /// Removes what [`Disk::fill`] wrote.
    pub fn free(&self) -> Result<()> {
        fs::remove_file(self.filler()).context("it was not filled")
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a gateway that is still being dropped may have files open.
        let _ = run(Command::new("umount").arg("-l").arg(&self.at));
    }
}

fn run(command: &mut Command) -> Result<()> {
    let done = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        done.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&done.stderr).trim()
    );
    Ok(())
}
