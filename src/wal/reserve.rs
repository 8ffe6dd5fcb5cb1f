//! The disk that a directory is on, and RESERVE: the file that keeps room on it.
//!
//! What it is for, and when it gives way to what a running node writes, stands in [`super::disk_space`]. Before the node
//! runs it gives way to the copy of damaged bytes ([`mod@super::repair`]).

use super::dir::Dir;
use super::disk::Disk;
use super::regular;
use rustix::fs::{FallocateFlags, OFlags};
use std::io;
use std::path::PathBuf;

/// The space of the disk that a directory is on, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    pub(super) free_bytes: u64,
    pub(super) total_bytes: u64,
}

impl Dir {
    /// The space of the disk that the directory is on, as far as this process may use it; none where the system does not say.
    pub(super) fn space(&self) -> Option<Space> {
        let stat = rustix::fs::fstatvfs(self.file()).ok()?;
        let of = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        // A file system without a size, as some are that lie elsewhere, has no bound to name.
        (stat.f_blocks > 0).then(|| Space {
            free_bytes: of(stat.f_bavail),
            total_bytes: of(stat.f_blocks),
        })
    }

    fn reserve_path(&self) -> PathBuf {
        self.path().join("RESERVE")
    }

    /// How much it has.
    pub(super) fn reserve_bytes(&self) -> u64 {
        self.file_bytes(&self.reserve_path()).unwrap_or(0)
    }

    /// Brings the reserve to a size. It is worth no sync: after a crash it is made again.
    pub(super) fn set_reserve(&self, disk: &Disk, bytes: u64) -> io::Result<()> {
        let path = self.reserve_path();
        if bytes == 0 {
            return disk.remove(self, &path);
        }
        let file = regular::checked(self.open_at(&path, OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW)?)?;
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
        Ok(())
    }
}
