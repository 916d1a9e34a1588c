//! A disk whose power can be cut: ext4 in an image file on a loop device.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// Sparse, so this is a limit and not what is used.
const BYTES: u64 = 1 << 30;

/// A mounted file system of its own.
#[derive(Debug)]
pub struct Disk {
    folder: TempDir,
}

/// Whether this machine can mount one: that takes root, loop devices and the tools.
pub fn can_be_cut() -> bool {
    let there = |tool: &str| Command::new(tool).arg("-V").output().is_ok();
    rustix::process::geteuid().is_root() && Path::new("/dev/loop-control").exists() && there("mkfs.ext4") && there("xfs_io")
}

impl Disk {
    /// Makes and mounts it.
    pub fn new() -> Result<Self> {
        let disk = Self { folder: tempfile::tempdir().context("no folder for a disk")? };
        std::fs::File::create(disk.image())?.set_len(BYTES)?;
        std::fs::create_dir(disk.path())?;
        run(Command::new("mkfs.ext4").arg("-q").arg(disk.image()))?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Cuts the power: from here on nothing reaches the medium, and what was not synced is gone.
    pub fn cut(&self) -> Result<()> {
        run(Command::new("xfs_io").args(["-x", "-c", "shutdown"]).arg(self.path()))
    }

    /// Power is back: mounted anew, its journal replayed. Nobody may have files open on it.
    pub fn back(&self) -> Result<()> {
        run(Command::new("umount").arg(self.path()))?;
        self.mount()
    }

    fn mount(&self) -> Result<()> {
        run(Command::new("mount").args(["-o", "loop"]).arg(self.image()).arg(self.path()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that is about to end may still have files open.
        if let Err(error) = run(Command::new("umount").arg("-l").arg(self.path())) {
            eprintln!("{error:#}");
        }
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(())
}
