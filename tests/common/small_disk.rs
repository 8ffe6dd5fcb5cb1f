//! A disk that is soon full: a tmpfs, which takes root.

use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A tmpfs of a few MiB at most, unmounted when dropped.
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// As [`SmallDisk::mount_of`]; where that is not allowed, says that a test is left out.
    pub fn mount_or_skip(test: &str, size: &str) -> Option<SmallDisk> {
        SmallDisk::mount_of(size)
            .map_err(|why| super::skip(test, &why))
            .ok()
    }

    pub fn mount() -> Result<SmallDisk, String> {
        SmallDisk::mount_of("1m")
    }

    pub fn mount_of(size: &str) -> Result<SmallDisk, String> {
        let dir = TempDir::new().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .output();
        match mount {
            Ok(output) if output.status.success() => Ok(SmallDisk(dir)),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Err(format!("mount: {error}")),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub fn root(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the node may still be about to end.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
